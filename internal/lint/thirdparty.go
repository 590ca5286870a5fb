package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// LinkedModules lists the modules of others that the packages link, as "path
// version", sorted: with the build tag that make sets, whoever calls it.
func LinkedModules(root string, packages ...string) ([]string, error) {
	args := append([]string{"list", "-tags=cuda", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}"}, packages...)
	out, err := output(root, "go", args...)
	if err != nil {
		return nil, err
	}
	lines := strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

var moduleHeading = regexp.MustCompile(`(?m)^## (\S+ v\S+)$`)

// CheckThirdParty reports modules that are linked but not in THIRD_PARTY.md, or
// there but no longer linked.
func CheckThirdParty(notice string, linked []string) []Finding {
	var listed []string
	for _, m := range moduleHeading.FindAllStringSubmatch(notice, -1) {
		listed = append(listed, m[1])
	}
	var found []Finding
	add := func(format, module string) {
		found = append(found, Finding{"THIRD_PARTY.md", fmt.Sprintf(format, module), "make third-party"})
	}
	for _, module := range linked {
		if !slices.Contains(listed, module) {
			add("%s is linked into the binary but not listed", module)
		}
	}
	for _, module := range listed {
		if !slices.Contains(linked, module) {
			add("%s is listed but not linked", module)
		}
	}
	return found
}
