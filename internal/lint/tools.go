package lint

import (
	"path/filepath"
	"strings"
)

// Vet runs go vet over every package of the module at root.
func Vet(root string) []Finding {
	if _, err := output(root, "go", "vet", "./..."); err != nil {
		return []Finding{{"go vet", err.Error(), "do what vet says"}}
	}
	return nil
}

// Staticcheck runs the version of staticcheck that internal/tools pins over the
// module at root. An error means that it could not be built or run.
func Staticcheck(root string) ([]Finding, error) {
	binary := filepath.Join(root, "build", "tools", "staticcheck")
	if _, err := output(filepath.Join(root, "internal", "tools"), "go", "build", "-o", binary, "honnef.co/go/tools/cmd/staticcheck"); err != nil {
		return nil, err
	}
	out, err := output(root, binary, "./...")
	if err == nil {
		return nil, nil
	}
	if len(out) == 0 {
		return nil, err
	}
	return []Finding{{"staticcheck", "\n" + strings.TrimSpace(string(out)), "do what staticcheck says"}}, nil
}
