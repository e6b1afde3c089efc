package config

import (
	"maps"
	"slices"

	"procops/internal/config/source"
)

// merge adds what another file holds to d. Tables that both have are merged,
// lists of [[tables]] are put one behind the other, and everything else may
// stand in one of them only.
func (d *document) merge(other document, report func(*source.Error)) {
	m := merger{root: d.root, report: report}
	m.tables(d.values, other.values, d.root, other.root, nil)
}

type merger struct {
	root   *source.Node
	report func(*source.Error)
}

func (m merger) tables(into, from map[string]any, intoAt, fromAt *source.Node, path []string) {
	for _, key := range slices.Sorted(maps.Keys(from)) {
		there, exists := into[key]
		if !exists {
			into[key] = from[key]
			intoAt.Set(key, fromAt.Get(key))
			continue
		}
		m.both(into, key, there, from[key], intoAt.Get(key), fromAt.Get(key), append(slices.Clip(path), key))
	}
}

// both merges a value that stands in both.
func (m merger) both(into map[string]any, key string, old, added any, oldAt, addedAt *source.Node, path []string) {
	switch added := added.(type) {
	case map[string]any:
		if old, ok := old.(map[string]any); ok {
			m.tables(old, added, oldAt, addedAt, path)
			return
		}
	case []map[string]any:
		if old, ok := old.([]map[string]any); ok {
			into[key] = append(old, added...)
			oldAt.Elements = append(oldAt.Elements, addedAt.Elements...)
			return
		}
	}
	m.report(source.Errorf(addedAt.Place(), "%s is set already at %s", m.root.Label(path...), oldAt.Place()))
}
