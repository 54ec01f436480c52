package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

const module = "github.com/klamm-gateway/klamm/"

// comments reads the comments of structs from the module's source.
type comments struct {
	root     string
	packages map[string]map[string]documented // by import path and type
}

// documented are the comments of one struct.
type documented struct {
	text   string
	fields map[string]string
}

// of returns the comments of a struct of this module.
func (c *comments) of(t reflect.Type) (documented, error) {
	types, ok := c.packages[t.PkgPath()]
	if !ok {
		var err error
		if types, err = read(filepath.Join(c.root, strings.TrimPrefix(t.PkgPath(), module))); err != nil {
			return documented{}, err
		}
		c.packages[t.PkgPath()] = types
	}
	return types[t.Name()], nil
}

// read parses the files of a package, without its tests.
func read(dir string) (map[string]documented, error) {
	types := map[string]documented{}
	names, err := fs.Glob(os.DirFS(dir), "*.go")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range f.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				collect(types, g)
			}
		}
	}
	return types, nil
}

// collect adds the structs of one declaration.
func collect(types map[string]documented, g *ast.GenDecl) {
	for _, spec := range g.Specs {
		t := spec.(*ast.TypeSpec)
		s, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		doc := documented{text: t.Doc.Text(), fields: map[string]string{}}
		if doc.text == "" {
			doc.text = g.Doc.Text()
		}
		for _, f := range s.Fields.List {
			text := f.Doc.Text()
			if text == "" {
				text = f.Comment.Text()
			}
			for _, name := range f.Names {
				doc.fields[name.Name] = text
			}
		}
		types[t.Name.Name] = doc
	}
}
