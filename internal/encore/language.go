package encore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FolderLanguage tells the language of the app that path belongs to: as encore.app says, in the folder or one above it, else by the go.mod
// or package.json in it. Empty: that cannot be known.
func FolderLanguage(path string) (Language, error) {
	dir, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		lang, _, err := appFile(filepath.Join(d, "encore.app"))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return lang, err
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	_, goErr := os.Stat(filepath.Join(dir, "go.mod"))
	manifest, _, jsErr := readFile(filepath.Join(dir, "package.json"))
	js := jsErr == nil && strings.Contains(string(manifest), `"encore.dev"`)
	switch {
	case goErr == nil && !js:
		return Go, nil
	case goErr != nil && js:
		return TypeScript, nil
	}
	return "", nil
}

// appFile reads an encore.app: the language, which is Go if it says none, and the app's ID.
func appFile(path string) (Language, string, error) {
	text, _, err := readFile(path)
	if err != nil {
		return "", "", err
	}
	doc, err := parseDocument(text)
	if err != nil {
		return "", "", malformed(path, err)
	}
	root, err := object(&doc.root, "the whole")
	if err != nil {
		return "", "", malformed(path, err)
	}
	id, err := textOf(root, "", "id")
	if err != nil {
		return "", "", malformed(path, err)
	}
	said, err := textOf(root, "", "lang")
	if err != nil {
		return "", "", malformed(path, err)
	}
	if said == "" {
		return Go, id, nil
	}
	lang, err := ParseLanguage(said)
	if err != nil {
		return "", "", malformed(path, err)
	}
	return lang, id, nil
}
