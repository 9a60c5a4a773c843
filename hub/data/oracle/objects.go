package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
)

// generator makes small random objects with the lists and maps that have rules of their own.
type generator struct{ *rand.Rand }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

// some returns a random selection in random order.
func some[T any](g generator, from ...T) []T {
	chosen := slices.Clone(from)
	g.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
	return chosen[:g.IntN(len(chosen)+1)]
}

func (g generator) metadata() object {
	m := object{"name": "x"}
	if g.chance(50) {
		m["labels"] = g.strings("app", "tier", "env")
	}
	if g.chance(40) {
		m["finalizers"] = anys(some(g, "f/one", "f/two", "f/three"))
	}
	if g.chance(20) {
		var owners []any
		for _, uid := range some(g, "u1", "u2") {
			owners = append(owners, object{"uid": uid, "name": pick(g, "n", "m"), "kind": "K", "apiVersion": "v1"})
		}
		m["ownerReferences"] = append([]any{}, owners...)
	}
	return m
}

func (g generator) strings(keys ...string) object {
	out := object{}
	for _, key := range some(g, keys...) {
		out[key] = fmt.Sprint(g.IntN(3))
	}
	return out
}

func (g generator) named(prefix, key string) []any {
	out := []any{}
	for _, n := range some(g, 1, 2, 3, 4) {
		out = append(out, object{key: fmt.Sprint(prefix, n)})
	}
	return out
}

func (g generator) podSpec() object {
	spec := object{"containers": g.containers()}
	if g.chance(50) {
		spec["volumes"] = g.volumes()
	}
	if g.chance(30) {
		spec["tolerations"] = []any{object{"key": pick(g, "a", "b"), "operator": "Exists"}}
	}
	if g.chance(30) {
		spec["nodeSelector"] = g.strings("disk", "zone")
	}
	if g.chance(20) {
		spec["securityContext"] = object{"runAsUser": g.IntN(3), "supplementalGroups": anys(some(g, 1, 2, 3))}
	}
	if g.chance(20) {
		spec["imagePullSecrets"] = g.named("p", "name")
	}
	return spec
}

func (g generator) containers() []any {
	out := []any{}
	for _, name := range some(g, "a", "b", "c") {
		c := object{"name": name, "image": pick(g, "i:1", "i:2")}
		if g.chance(50) {
			c["env"] = g.env()
		}
		if g.chance(40) {
			c["ports"] = g.ports("containerPort")
		}
		if g.chance(30) {
			c["args"] = anys(some(g, "x", "y", "z"))
		}
		if g.chance(20) {
			c["volumeMounts"] = []any{object{"name": "v1", "mountPath": pick(g, "/a", "/b")}}
		}
		if g.chance(20) {
			c["resources"] = object{"limits": g.strings("cpu", "memory")}
		}
		out = append(out, c)
	}
	return out
}

func (g generator) env() []any {
	out := []any{}
	for _, name := range some(g, "E", "F", "G") {
		if g.chance(25) {
			out = append(out, object{"name": name, "valueFrom": object{"secretKeyRef": object{"name": "s", "key": pick(g, "k", "l")}}})
		} else {
			out = append(out, object{"name": name, "value": fmt.Sprint(g.IntN(3))})
		}
	}
	return out
}

func (g generator) ports(key string) []any {
	out := []any{}
	for _, port := range some(g, 53, 80, 443) {
		out = append(out, object{key: port, "protocol": pick(g, "TCP", "UDP"), "name": fmt.Sprint("p", port)})
	}
	return out
}

func (g generator) volumes() []any {
	out := []any{}
	for _, name := range some(g, "v1", "v2", "v3") {
		source := pick(g, object{"emptyDir": object{}}, object{"configMap": object{"name": "c"}}, object{"hostPath": object{"path": "/p"}})
		source["name"] = name
		out = append(out, source)
	}
	return out
}

func (g generator) deployment() object {
	spec := object{"replicas": g.IntN(4), "template": object{"metadata": g.metadata(), "spec": g.podSpec()}}
	spec["strategy"] = pick(g, object{"type": "Recreate"}, object{"type": "RollingUpdate", "rollingUpdate": object{"maxSurge": g.IntN(3)}})
	return object{"metadata": g.metadata(), "spec": spec}
}

func (g generator) serviceSpec() object {
	spec := object{"ports": g.ports("port"), "selector": g.strings("app", "tier")}
	if g.chance(30) {
		spec["externalIPs"] = anys(some(g, "1.1.1.1", "2.2.2.2"))
	}
	return spec
}

func anys[T any](from []T) []any {
	out := []any{}
	for _, v := range from {
		out = append(out, v)
	}
	return out
}

// mutate changes an object here and there: fields removed, lists shuffled and shortened, scalars replaced by others of their kind.
func (g generator) mutate(v object) object {
	for _, key := range sorted(v) {
		switch inner := v[key].(type) {
		case object:
			v[key] = g.mutate(inner)
		case []any:
			v[key] = g.mutateList(inner)
		case string:
			if key != "name" && key != "uid" && key != "mountPath" && g.chance(25) {
				v[key] = inner + "0"
			}
		}
		if key != "name" && key != "uid" && key != "port" && key != "containerPort" && key != "mountPath" && g.chance(8) {
			delete(v, key)
		}
	}
	return v
}

func (g generator) mutateList(list []any) []any {
	for i := range list {
		if inner, ok := list[i].(object); ok {
			list[i] = g.mutate(inner)
		}
	}
	if g.chance(30) {
		g.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	if len(list) > 0 && g.chance(30) {
		list = list[1:]
	}
	return list
}

// scribble makes a patch of an object: parts of it, with nulls and directives put in.
func (g generator) scribble(v object) object {
	out := object{}
	for _, key := range sorted(v) {
		if key != "name" && key != "uid" && key != "port" && key != "containerPort" && key != "mountPath" && g.chance(30) {
			continue
		}
		switch inner := v[key].(type) {
		case object:
			out[key] = g.scribbleMap(inner)
		case []any:
			g.scribbleList(out, key, inner)
		default:
			out[key] = inner
			if key != "name" && key != "uid" && key != "port" && key != "containerPort" && key != "mountPath" && g.chance(10) {
				out[key] = nil
			}
		}
	}
	return out
}

func (g generator) scribbleMap(v object) any {
	out := g.scribble(v)
	switch roll := g.IntN(100); {
	case roll < 4:
		out["$patch"] = "replace"
	case roll < 6:
		out["$patch"] = "delete"
	case roll < 7:
		out["$patch"] = "mend"
	case roll < 11:
		out["$retainKeys"] = anys(sorted(out))
	case roll < 13:
		out["$retainKeys"] = anys(some(g, "type", "name", "spec"))
	case roll < 15:
		return nil
	}
	return out
}

func (g generator) scribbleList(out object, key string, list []any) {
	patch, order := []any{}, []any{}
	mergeKey := map[string]string{"containers": "name", "env": "name", "volumes": "name", "ports": "containerPort", "secrets": "name",
		"imagePullSecrets": "name", "ownerReferences": "uid", "volumeMounts": "mountPath"}[key]
	for _, element := range list {
		inner, isMap := element.(object)
		if isMap && mergeKey == "containerPort" && inner["port"] != nil {
			mergeKey = "port"
		}
		if !isMap {
			patch, order = append(patch, element), append(order, element)
			continue
		}
		order = append(order, object{mergeKey: inner[mergeKey]})
		switch {
		case mergeKey != "" && g.chance(15):
			order = order[:len(order)-1]
			patch = append(patch, object{"$patch": "delete", mergeKey: inner[mergeKey]})
		case g.chance(3):
			patch = append(patch, object{"value": "no key"})
		case g.chance(80):
			patch = append(patch, g.scribble(inner))
		}
	}
	if mergeKey != "" && g.chance(6) {
		// Nobody says both that a list is replaced and how the old one is ordered.
		out[key] = append(patch, object{"$patch": "replace"})
		return
	}
	if key == "finalizers" && len(list) > 0 && g.chance(40) {
		out["$deleteFromPrimitiveList/"+key] = list[:1]
		return
	}
	if (mergeKey != "" || key == "finalizers") && len(order) > 0 && g.chance(40) {
		if g.chance(10) {
			slices.Reverse(order)
		}
		out["$setElementOrder/"+key] = order
		if g.chance(20) {
			return
		}
	}
	out[key] = patch
}

func sorted(v object) []string {
	keys := []string{}
	for key := range v {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
