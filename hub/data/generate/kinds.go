package main

import (
	"bytes"
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
)

// kind is one row of kinds.json; its JSON names are those of the hub's Resource.
type kind struct {
	Group      string   `json:"group"`
	Version    string   `json:"version"`
	Kind       string   `json:"kind"`
	Plural     string   `json:"plural"`
	Singular   string   `json:"singular"`
	ShortNames []string `json:"shortNames"`
	Categories []string `json:"categories"`
	Namespaced bool     `json:"namespaced"`
	Role       string   `json:"role"`
	Status     bool     `json:"status"`
	Scale      bool     `json:"scale"`
}

// notDistributed are native resources that a member's own components make, or that answer a question: nobody writes them as
// templates. apiregistration is left out because an APIService on a member may point anywhere.
var notDistributed = []string{
	"/bindings", "/componentstatuses", "/nodes",
	"apiregistration.k8s.io/apiservices",
	"apps/controllerrevisions",
	"authentication.k8s.io/tokenreviews",
	"authorization.k8s.io/localsubjectaccessreviews", "authorization.k8s.io/subjectaccessreviews",
	"certificates.k8s.io/certificatesigningrequests", "certificates.k8s.io/podcertificaterequests",
	"networking.k8s.io/ipaddresses",
	"resource.k8s.io/devicetaintrules", "resource.k8s.io/resourceslices",
	"storage.k8s.io/csinodes", "storage.k8s.io/csistoragecapacities", "storage.k8s.io/volumeattachments",
	"storagemigration.k8s.io/storageversionmigrations",
}

var live = []string{"/events", "events.k8s.io/events", "coordination.k8s.io/leases"}

var virtual = []string{
	"authentication.k8s.io/selfsubjectreviews",
	"authorization.k8s.io/selfsubjectaccessreviews", "authorization.k8s.io/selfsubjectrulesreviews",
}

func role(groupResource string) string {
	switch {
	case slices.Contains(live, groupResource):
		return "Live"
	case slices.Contains(virtual, groupResource):
		return "Virtual"
	}
	return "Template"
}

type discovery struct {
	Items []struct {
		Metadata struct{ Name string }
		Versions []struct {
			Version   string
			Resources []struct {
				Resource, SingularResource, Scope string
				ResponseKind                      struct{ Kind string }
				ShortNames, Categories            []string
				Subresources                      []struct{ Subresource string }
			}
		}
	}
}

// readKinds reads the preferred version of every native group from the recorded discovery documents of the release.
func readKinds(root string) []kind {
	kinds := readCore(filepath.Join(root, "api/discovery/api__v1.json"))
	var groups discovery
	readJSON(filepath.Join(root, "api/discovery/aggregated_v2.json"), &groups)
	for _, group := range groups.Items {
		version := group.Versions[0]
		if version.Version != "v1" && version.Version != "v2" {
			continue
		}
		for _, r := range version.Resources {
			k := kind{Group: group.Metadata.Name, Version: version.Version, Kind: r.ResponseKind.Kind, Plural: r.Resource,
				Singular: r.SingularResource, ShortNames: r.ShortNames, Categories: r.Categories, Namespaced: r.Scope == "Namespaced"}
			for _, s := range r.Subresources {
				k.Status = k.Status || s.Subresource == "status"
				k.Scale = k.Scale || s.Subresource == "scale"
			}
			kinds = append(kinds, k)
		}
	}
	kinds = slices.DeleteFunc(kinds, func(k kind) bool { return slices.Contains(notDistributed, k.Group+"/"+k.Plural) })
	for i := range kinds {
		kinds[i].Role = role(kinds[i].Group + "/" + kinds[i].Plural)
		kinds[i].ShortNames = append([]string{}, kinds[i].ShortNames...)
		kinds[i].Categories = append([]string{}, kinds[i].Categories...)
	}
	slices.SortFunc(kinds, func(a, b kind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Plural, b.Plural))
	})
	return kinds
}

// readCore reads the v1 group, which the aggregated document of the release does not hold.
func readCore(path string) []kind {
	var list struct {
		Resources []struct {
			Name, SingularName, Kind string
			Namespaced               bool
			ShortNames, Categories   []string
		}
	}
	readJSON(path, &list)
	var kinds []kind
	has := map[string]bool{}
	for _, r := range list.Resources {
		has[r.Name] = true
	}
	for _, r := range list.Resources {
		if bytes.ContainsRune([]byte(r.Name), '/') {
			continue
		}
		kinds = append(kinds, kind{Version: "v1", Kind: r.Kind, Plural: r.Name, Singular: r.SingularName, ShortNames: r.ShortNames,
			Categories: r.Categories, Namespaced: r.Namespaced, Status: has[r.Name+"/status"], Scale: has[r.Name+"/scale"]})
	}
	return kinds
}

func renderKinds(kinds []kind) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "{\"source\": \"k8s.io/kubernetes %s\",\n\"kinds\": [\n", release)
	rows(&out, "", len(kinds), func(i int) string { return compact(kinds[i]) })
	out.WriteString("]}\n")
	return out.Bytes()
}
