// Package schema knows what values must look like and how they are written.
//
// A JSONSchema says of a JSON value where it breaks its schema and by which
// keyword, in words that a caller can act on and that do not repeat the value.
package schema
