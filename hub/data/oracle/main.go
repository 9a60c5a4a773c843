// Command oracle writes cases.json: strategic merge patches and what Kubernetes' own code makes of them.
//
//	cd hub/data && go run ./oracle > oracle/cases.json
//
// The cases come from a seeded generator. Patches are of three sorts: as kubectl apply computes them from three objects, as
// kubectl edit computes them from two, and written at random with every directive, right and wrong. Nulls and directives that
// Kubernetes leaves in a result, and drops when it decodes the object, are dropped here too.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"strings"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

type object = map[string]any

type testCase struct {
	Kind     string `json:"kind"`
	Original object `json:"original"`
	Patch    object `json:"patch"`
	Result   any    `json:"result"` // null where Kubernetes refuses the patch
}

var kinds = []struct {
	name string
	zero any
	make func(g generator) object
}{
	{"Pod", core.Pod{}, func(g generator) object { return object{"metadata": g.metadata(), "spec": g.podSpec()} }},
	{"apps/Deployment", apps.Deployment{}, generator.deployment},
	{"Service", core.Service{}, func(g generator) object { return object{"metadata": g.metadata(), "spec": g.serviceSpec()} }},
	{"ServiceAccount", core.ServiceAccount{}, func(g generator) object {
		return object{"metadata": g.metadata(), "secrets": g.named("s", "name"), "imagePullSecrets": g.named("p", "name")}
	}},
}

func main() {
	g := generator{rand.New(rand.NewPCG(1, 2))}
	var cases []testCase
	for range 98 {
		for _, k := range kinds {
			if c, ok := oneCase(g, k.name, k.zero, k.make); ok {
				cases = append(cases, c)
			}
		}
	}
	fmt.Print("{\"source\": \"k8s.io/apimachinery v0.37.2\",\n\"cases\": [\n")
	for i, c := range cases {
		raw, err := json.Marshal(c)
		must(err)
		comma := ","
		if i == len(cases)-1 {
			comma = ""
		}
		fmt.Fprintf(os.Stdout, "%s%s\n", raw, comma)
	}
	fmt.Print("]}\n")
}

func oneCase(g generator, name string, zero any, make func(generator) object) (testCase, bool) {
	original, current := make(g), make(g)
	modified := g.mutate(clone(original))
	var patch []byte
	var err error
	switch g.IntN(4) {
	case 0:
		current = original
		patch, err = strategicpatch.CreateTwoWayMergePatch(raw(original), raw(modified), zero)
	case 1:
		meta, metaErr := strategicpatch.NewPatchMetaFromStruct(zero)
		must(metaErr)
		patch, err = strategicpatch.CreateThreeWayMergePatch(raw(original), raw(modified), raw(current), meta, true)
	default:
		patch = raw(g.scribble(modified))
	}
	if err != nil {
		return testCase{}, false
	}
	c := testCase{Kind: name, Original: current, Patch: parse(patch)}
	result, err := apply(raw(current), patch, zero)
	if err == nil {
		c.Result = clean(parse(result))
		return c, true
	}
	// Kubernetes refuses to order a list that is empty on both sides; the hub has no reason to.
	return c, !strings.Contains(err.Error(), "no elements in any of the given slices")
}

// apply turns a panic, which some of the wrong patches cause, into a refusal.
func apply(original, patch []byte, zero any) (result []byte, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%v", reason)
		}
	}()
	return strategicpatch.StrategicMergePatch(original, patch, zero)
}

// clean drops what decoding into the Go type drops: nulls and directives. Directives inside an element that is new to a list are
// left over as elements of their own; the hub takes them for the directives that they are, so they are dropped as well.
func clean(v any) any {
	switch v := v.(type) {
	case object:
		for key, inner := range v {
			if inner == nil || strings.HasPrefix(key, "$") || leftOver(inner) {
				delete(v, key)
			} else {
				v[key] = clean(inner)
			}
		}
	case []any:
		out := []any{}
		for _, element := range v {
			if !leftOver(element) {
				out = append(out, clean(element))
			}
		}
		return out
	}
	return v
}

func leftOver(v any) bool {
	inner, isMap := v.(object)
	return isMap && inner["$patch"] != nil
}

func raw(v any) []byte {
	out, err := json.Marshal(v)
	must(err)
	return out
}

func parse(raw []byte) object {
	var out object
	must(json.Unmarshal(raw, &out))
	return out
}

func clone(v object) object { return parse(raw(v)) }

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
