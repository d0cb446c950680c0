package rdsapi

import (
	"context"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"dbops/internal/sandbox/awsid"
)

// operation is one action of the API.
type operation struct {
	name     string
	honoured []string                                               // fields of the input that the handler acts on
	decode   func(url.Values) (any, error)                          // to a pointer to the input
	about    func(in any) about                                     // what the action is done to
	handle   func(ctx context.Context, in any) (out any, err error) // out is a pointer to the output
}

// about is what an action is done to, for permissions and faults.
type about struct {
	kind string // db, snapshot, pg, subgrp, cert, es; or empty: the ARN is in id
	id   string // empty: all of them
}

func anInstance(id *string) about { return about{kind: "db", id: value(id)} }
func aSnapshot(id *string) about  { return about{kind: "snapshot", id: value(id)} }

// op makes an operation of a handler, named after its input: *rds.RebootDBInstanceInput is the input of RebootDBInstance.
// A request that sets a field outside honoured is refused before the handler sees it.
func op[I, O any](handle func(context.Context, *I) (*O, error), on func(*I) about, honoured ...string) operation {
	return operation{
		name:     strings.TrimSuffix(reflect.TypeFor[I]().Name(), "Input"),
		honoured: honoured,
		decode: func(form url.Values) (any, error) {
			in := new(I)
			return in, decodeQuery(form, in)
		},
		about: func(in any) about {
			i, _ := in.(*I)
			return on(i)
		},
		handle: func(ctx context.Context, in any) (any, error) {
			i, ok := in.(*I)
			if !ok {
				return nil, fmt.Errorf("a %T is not a %T", in, i)
			}
			return handle(ctx, i)
		},
	}
}

// refuse returns an error for the first field that is set and not honoured.
func (o operation) refuse(in any) error {
	v := reflect.ValueOf(in).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || slices.Contains(o.honoured, f.Name) {
			continue
		}
		if fv := v.Field(i); !fv.IsZero() && (fv.Kind() != reflect.Slice || fv.Len() > 0) {
			return notEmulated(f.Name)
		}
	}
	return nil
}

// notEmulated refuses a parameter, or a value of one, that the sandbox cannot act on.
func notEmulated(what string) error {
	return awsid.Newf(400, "InvalidParameterCombination", "sandbox: not emulated: %s", what)
}

// operations is the table of what is played.
func (a *API) operations() map[string]operation {
	table := map[string]operation{}
	for _, o := range slices.Concat(a.instanceOperations(), a.backupOperations(), a.catalogueOperations(), a.groupOperations(), a.logOperations(), a.greenOperations()) {
		table[o.name] = o
	}
	return table
}

// Honoured lists the operations that are played, each with the fields of its input that are acted on; any other is refused.
func (a *API) Honoured() map[string][]string {
	out := map[string][]string{}
	for name, o := range a.ops {
		out[name] = slices.Clone(o.honoured)
	}
	return out
}

// value is *p, or the zero value for nil.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
