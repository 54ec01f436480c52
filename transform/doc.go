// Package transform makes the body that is delivered out of the JSON document
// of a record or event. It speaks EventBridge's input path and input
// transformer, the input templates of EventBridge Pipes, constants, and jq.
//
// Compile turns a Spec into a Transform once; Apply is then called for every
// document, from any number of goroutines. A Transform is pure: it reads
// nothing but its document and the time it is given.
//
//	Spec --Compile--> tree of paths   (path.go)     Apply: walk the document once,
//	                  list of parts   (template.go)        note where each path ends up (walk.go, skip.go),
//	                                                       write the parts (render.go)
//
// The tree holds every path of a template. One pass over the document follows
// all of them, checks that the document is JSON, and steps over what no path
// names. Values are never decoded to Go values: a part copies the bytes of the
// document, so that numbers, escapes and the order of members stay as they
// came. Only the part of a path behind a [*] is followed again for each element.
//
// jq programs run in gojq on decoded values, within limits of their own (jq.go).
package transform
