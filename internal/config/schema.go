package config

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// typesSource, profileSource and viaSource hold the doc comments that become the schema's descriptions.
var (
	//go:embed types.go
	typesSource string
	//go:embed profile.go
	profileSource string
	//go:embed via.go
	viaSource string
)

// Schema returns the JSON Schema (draft 2020-12) of dbops.yaml, for editors.
func Schema() ([]byte, error) {
	comments := map[string]string{}
	for _, source := range []string{typesSource, profileSource, viaSource} {
		some, err := commentsOf(source)
		if err != nil {
			return nil, fmt.Errorf("make the schema: %w", err)
		}
		maps.Copy(comments, some)
	}
	r := jsonschema.Reflector{
		Anonymous: true, ExpandedStruct: true,
		LookupComment: func(t reflect.Type, field string) string {
			return comments[strings.TrimSuffix(t.Name()+"."+field, ".")]
		},
	}
	s := r.Reflect(&Config{})
	s.Title = "dbops.yaml"
	refine(s)
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("make the schema: %w", err)
	}
	return append(out, '\n'), nil
}

// commentsOf maps "Type" and "Type.Field" to their doc comments, on one line each.
func commentsOf(source string) (map[string]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), "types.go", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	text := func(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }
	for _, d := range f.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range decl.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			out[t.Name.Name] = text(decl.Doc)
			fields, ok := t.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, field := range fields.Fields.List {
				for _, name := range field.Names {
					out[t.Name.Name+"."+name.Name] = asKey(text(field.Doc), name.Name, field.Tag)
				}
			}
		}
	}
	return out, nil
}

// asKey makes a comment that begins with the field's name begin with its key: CAFile holds ... becomes ca_file holds ...
func asKey(comment, name string, tag *ast.BasicLit) string {
	rest, ok := strings.CutPrefix(comment, name+" ")
	if !ok || tag == nil {
		return comment
	}
	key, _, _ := strings.Cut(reflect.StructTag(strings.Trim(tag.Value, "`")).Get("yaml"), ",")
	if strings.EqualFold(key, name) {
		return comment
	}
	return key + " " + rest
}

// refine adds what the types alone do not say.
func refine(s *jsonschema.Schema) {
	property := func(s *jsonschema.Schema, key string) *jsonschema.Schema {
		p, _ := s.Properties.Get(key)
		return p
	}
	names := &jsonschema.Schema{Pattern: nameSyntax.String()}
	one := uint64(1)

	property(s, "version").Const = 1
	property(s, "environments").PropertyNames = names
	property(s, "profiles").PropertyNames = names
	property(s, "notifications").PropertyNames = names
	property(s.Definitions["Webhook"], "format").Enum = enum(formats())
	property(s.Definitions["Webhook"], "on").Items.Enum = enum(occasions())

	environment := s.Definitions["Environment"]
	property(environment, "instances").PropertyNames = names
	property(environment, "credential_max_age").Pattern = ageSyntax.String()
	property(environment, "containers").PropertyNames = names
	property(s.Definitions["Container"], "databases").MinItems = &one

	instance := s.Definitions["Instance"]
	for _, key := range providers() {
		instance.OneOf = append(instance.OneOf, &jsonschema.Schema{Required: []string{key}})
	}
	for _, key := range []string{"ecs", "cloud_run", "command"} {
		s.Definitions["Rollout"].OneOf = append(s.Definitions["Rollout"].OneOf, &jsonschema.Schema{Required: []string{key}})
	}
	for _, key := range vias() {
		s.Definitions["Via"].OneOf = append(s.Definitions["Via"].OneOf, &jsonschema.Schema{Required: []string{key}})
	}
	property(s.Definitions["SSM"], "target").Pattern = ssmTarget.String()
	property(s.Definitions["SSM"], "region").Pattern = rdsRegion.String()
	logins := &jsonschema.Schema{}
	for _, a := range accesses() {
		logins.Enum = append(logins.Enum, a)
	}
	property(instance, "logins").PropertyNames = logins
	granted := &jsonschema.Schema{Type: "string"}
	for _, r := range rights() {
		granted.Enum = append(granted.Enum, r)
	}
	property(s.Definitions["Serve"], "users").AdditionalProperties = granted

	rds, cloudsql := s.Definitions["RDS"], s.Definitions["CloudSQL"]
	property(rds, "region").Pattern = rdsRegion.String()
	property(rds, "identifier").Pattern = rdsIdentifier.String()
	property(cloudsql, "project").Pattern = googleProject.String()
	property(cloudsql, "region").Pattern = googleRegion.String()
	property(cloudsql, "instance").Pattern = cloudsqlInstance.String()
	for _, key := range []string{"rpo", "rto"} {
		property(s.Definitions["Targets"], key).Pattern = spanSyntax.String()
	}
	property(s.Definitions["Postgres"], "url").Pattern = `^postgres(ql)?://`
}

func enum(words []string) (all []any) {
	for _, w := range words {
		all = append(all, w)
	}
	return all
}
