package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// field is one field of a type as types.json holds it; what is zero is left out. The reader is hub/src/api/types.rs.
type field struct {
	Number  int      `json:"n,omitempty"`   // protobuf field number
	Via     []int    `json:"via,omitempty"` // protobuf numbers of the embedded messages around the field, outermost first
	Type    string   `json:"t"`             // a scalar or special name, or the name of another type
	Shape   string   `json:"s,omitempty"`   // list or map of t
	Pointer bool     `json:"p,omitempty"`   // a pointer in Go: a zero value that was sent was meant
	Always  bool     `json:"a,omitempty"`   // Go's JSON writes the field even when it is zero
	Patch   string   `json:"ps,omitempty"`  // patchStrategy
	Key     string   `json:"pk,omitempty"`  // patchMergeKey
	List    string   `json:"lt,omitempty"`  // x-kubernetes-list-type
	Keys    []string `json:"lk,omitempty"`  // x-kubernetes-list-map-keys
	Map     string   `json:"mt,omitempty"`  // x-kubernetes-map-type
	Default any      `json:"d,omitempty"`   // default, where it is not the zero value
}

type schema struct {
	Properties map[string]struct {
		ListType string   `json:"x-kubernetes-list-type"`
		ListKeys []string `json:"x-kubernetes-list-map-keys"`
		MapType  string   `json:"x-kubernetes-map-type"`
		Default  any      `json:"default"`
	}
	MapType string `json:"x-kubernetes-map-type"`
}

// readSchemas reads the OpenAPI v3 component schemas of the release, by definition name.
func readSchemas(root string) map[string]schema {
	all := map[string]schema{}
	paths, err := filepath.Glob(filepath.Join(root, "api/openapi-spec/v3/*_openapi.json"))
	must(err)
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		must(err)
		var doc struct {
			Components struct{ Schemas map[string]json.RawMessage }
		}
		must(json.Unmarshal(raw, &doc))
		for name, body := range doc.Components.Schemas {
			var s schema
			must(json.Unmarshal(body, &s))
			all[name] = s
		}
	}
	return all
}

// walker collects every type that the kinds reach.
type walker struct {
	schemas map[string]schema
	types   map[string]map[string]field
	names   map[string]reflect.Type
}

// renderTypes walks the Go types of every kind, of DeleteOptions and of Scale.
func renderTypes(kinds []kind, schemas map[string]schema) []byte {
	w := walker{schemas: schemas, types: map[string]map[string]field{}, names: map[string]reflect.Type{}}
	roots := map[string]string{}
	for _, k := range kinds {
		roots[k.Group+"/"+k.Version+"/"+k.Kind] = w.walk(goType(k.Group, k.Version, k.Kind))
	}
	roots["/v1/DeleteOptions"] = w.walk(goType("", "v1", "DeleteOptions"))
	roots["autoscaling/v1/Scale"] = w.walk(goType("autoscaling", "v1", "Scale"))

	var out bytes.Buffer
	fmt.Fprintf(&out, "{\"source\": \"k8s.io/kubernetes %s\",\n\"kinds\": {\n", release)
	rowsOf(&out, roots)
	out.WriteString("},\n\"types\": {\n")
	rowsOf(&out, w.types)
	out.WriteString("}}\n")
	return out.Bytes()
}

func rowsOf[V any](out *bytes.Buffer, m map[string]V) {
	keys := slices.Sorted(maps.Keys(m))
	rows(out, "", len(keys), func(i int) string { return compact(keys[i]) + ":" + compact(m[keys[i]]) })
}

func goType(group, version, kind string) reflect.Type {
	gvk := fmt.Sprintf("%s/%s/%s", group, version, kind)
	for known, t := range scheme.AllKnownTypes() {
		if known.Group == group && known.Version == version && known.Kind == kind {
			return t
		}
	}
	log.Fatalf("no Go type for %s: add its package to scheme.go", gvk)
	return nil
}

// walk records a struct type and all that it reaches, and returns its name.
func (w *walker) walk(t reflect.Type) string {
	name := typeName(t)
	if seen, ok := w.names[name]; ok {
		if seen != t {
			log.Fatalf("two types are called %s: %v and %v", name, seen, t)
		}
		return name
	}
	w.names[name] = t
	fields := map[string]field{}
	w.types[name] = fields
	w.fields(t, t, nil, fields)
	return name
}

// fields records the fields of t, which owner is or embeds: JSON and OpenAPI know embedded fields as the owner's.
func (w *walker) fields(owner, t reflect.Type, via []int, into map[string]field) {
	for i := range t.NumField() {
		f := t.Field(i)
		jsonName, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		number := protobufNumber(f)
		if jsonName == "" {
			if number == 0 {
				continue // TypeMeta: the envelope carries it
			}
			w.fields(owner, f.Type, append(slices.Clone(via), number), into)
			continue
		}
		if jsonName == "-" {
			continue
		}
		if number == 0 {
			log.Fatalf("%v.%s has no protobuf number", t, f.Name)
		}
		into[jsonName] = w.field(owner, f, jsonName, options, number, via)
	}
}

func (w *walker) field(owner reflect.Type, f reflect.StructField, name, options string, number int, via []int) field {
	out := field{Number: number, Via: via, Patch: f.Tag.Get("patchStrategy"), Key: f.Tag.Get("patchMergeKey")}
	out.Always = !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero")
	inner := f.Type
	if inner.Kind() == reflect.Pointer {
		out.Pointer, inner = true, inner.Elem()
	}
	// Go's encoding/json never counts a struct as empty: only omitzero leaves it out.
	if inner.Kind() == reflect.Struct && !out.Pointer {
		out.Always = !strings.Contains(options, "omitzero")
	}
	out.Type, out.Shape = w.typeOf(inner)
	p := w.schemas[definition(owner)].Properties[name]
	out.List, out.Keys, out.Map = p.ListType, p.ListKeys, p.MapType
	if inner.Kind() == reflect.Struct && out.Map == "" {
		out.Map = w.schemas[definition(inner)].MapType
	}
	if p.Default != nil && compact(p.Default) != "{}" && !reflect.ValueOf(p.Default).IsZero() {
		out.Default = p.Default
	}
	return out
}

func (w *walker) typeOf(t reflect.Type) (name, shape string) {
	if special, ok := specials[typeName(t)]; ok {
		return special, ""
	}
	switch t.Kind() {
	case reflect.String:
		return "str", ""
	case reflect.Bool:
		return "bool", ""
	case reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Int:
		return "int", ""
	case reflect.Float64:
		return "double", ""
	case reflect.Struct:
		return w.walk(t), ""
	case reflect.Slice:
		return w.elements(t)
	case reflect.Map:
		name, inner := w.typeOf(t.Elem())
		if inner == "list" {
			log.Fatalf("%v: a map of lists is not decoded", t)
		}
		return name, "map"
	}
	log.Fatalf("%v: no rule", t)
	return "", ""
}

func (w *walker) elements(t reflect.Type) (name, shape string) {
	if t.Elem().Kind() == reflect.Uint8 {
		return "bytes", ""
	}
	elem := t.Elem()
	if elem.Kind() == reflect.Pointer {
		elem = elem.Elem()
	}
	name, inner := w.typeOf(elem)
	if inner != "" {
		log.Fatalf("%v: nested collections are not decoded", t)
	}
	return name, "list"
}

// protobufNumber reads N of the tag protobuf:"bytes,N,opt,name=x".
func protobufNumber(f reflect.StructField) int {
	parts := strings.Split(f.Tag.Get("protobuf"), ",")
	if len(parts) < 2 {
		return 0
	}
	n, err := strconv.Atoi(parts[1])
	must(err)
	return n
}

// typeName is the last two folders of the package and the name: core.v1.Container.
func typeName(t reflect.Type) string {
	parts := strings.Split(t.PkgPath(), "/")
	if len(parts) < 2 {
		return t.Name()
	}
	return strings.Join(parts[len(parts)-2:], ".") + "." + t.Name()
}

// definition is the OpenAPI name of a Go type: io.k8s.api.core.v1.Container.
func definition(t reflect.Type) string {
	path := strings.TrimPrefix(t.PkgPath(), "k8s.io/")
	return "io.k8s." + strings.ReplaceAll(path, "/", ".") + "." + t.Name()
}
