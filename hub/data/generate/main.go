// Command generate writes kinds.json and types.json: what the hub knows of Kubernetes' native kinds.
//
//	cd hub/data && go run ./generate            writes both files
//	cd hub/data && go run ./generate --check    fails if the committed files are not what it would write
//
// Sources, all Go modules of one release: the discovery and OpenAPI documents of k8s.io/kubernetes, and the Go types of
// k8s.io/api, k8s.io/apimachinery and k8s.io/apiextensions-apiserver, whose struct tags hold the protobuf numbers, the JSON
// names and the strategic-merge keys that a real API server works from.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
)

// release names the Kubernetes release that every source is taken from; go.mod pins its Go types (1.37.2 is 0.37.2 there).
const release = "v1.37.2"

func main() {
	check := flag.Bool("check", false, "compare instead of write")
	flag.Parse()

	root := sourceTree()
	kinds := readKinds(root)
	files := map[string][]byte{
		"kinds.json": renderKinds(kinds),
		"types.json": renderTypes(kinds, readSchemas(root)),
	}
	for name, want := range files {
		if !*check {
			must(os.WriteFile(name, want, 0o644))
			continue
		}
		have, err := os.ReadFile(name)
		must(err)
		if !bytes.Equal(have, want) {
			log.Fatalf("%s is not what generate makes of Kubernetes %s: run go run ./generate", name, release)
		}
	}
}

// sourceTree returns the folder of k8s.io/kubernetes in the module cache.
func sourceTree() string {
	cmd := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes@"+release)
	cmd.Dir = os.TempDir()
	out, err := cmd.Output()
	must(err)
	var module struct{ Dir string }
	must(json.Unmarshal(out, &module))
	return module.Dir
}

func readJSON(path string, into any) {
	raw, err := os.ReadFile(path)
	must(err)
	must(json.Unmarshal(raw, into))
}

// rows writes one compact JSON member a line, so that a change of release is a readable diff.
func rows(out *bytes.Buffer, indent string, n int, row func(i int) string) {
	for i := range n {
		comma := ","
		if i == n-1 {
			comma = ""
		}
		fmt.Fprintf(out, "%s%s%s\n", indent, row(i), comma)
	}
}

func compact(v any) string {
	raw, err := json.Marshal(v)
	must(err)
	return string(raw)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
