package rdsapi

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

var timeType = reflect.TypeFor[time.Time]()

// A request has at most so many parameters, and a list so many members.
const (
	maxParameters = 2000
	maxList       = 500
)

// decoder reads the parameters of one request; what is left at the end was not understood.
type decoder struct {
	left map[string]string
}

// decodeQuery fills dst, a pointer to an SDK input structure, from query-protocol parameters. A parameter that the structure
// has no field for, or that comes twice, is an error.
func decodeQuery(form url.Values, dst any) error {
	if len(form) > maxParameters {
		return fmt.Errorf("the request has more than %d parameters", maxParameters)
	}
	d := decoder{left: map[string]string{}}
	for k, v := range form {
		if k == "Action" || k == "Version" || strings.HasPrefix(k, "X-Amz-") {
			continue
		}
		if len(v) != 1 {
			return fmt.Errorf("parameter %s is given more than once", k)
		}
		d.left[k] = v[0]
	}
	if err := d.fields("", reflect.ValueOf(dst).Elem()); err != nil {
		return err
	}
	if len(d.left) > 0 {
		names := make([]string, 0, len(d.left))
		for k := range d.left {
			names = append(names, k)
		}
		slices.Sort(names)
		return fmt.Errorf("unknown parameter %s", names[0])
	}
	return nil
}

func (d decoder) fields(prefix string, v reflect.Value) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if err := d.value(prefix+f.Name, f.Name, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// value decodes the parameter key, or those that begin with key and a dot; field is the name of the field it is for.
func (d decoder) value(key, field string, v reflect.Value) error {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Slice:
		return d.list(key, field, v)
	case t.Kind() == reflect.Struct && t != timeType:
		return d.fields(key+".", v)
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && t.Elem() != timeType:
		if !d.under(key + ".") {
			return nil
		}
		v.Set(reflect.New(t.Elem()))
		return d.fields(key+".", v.Elem())
	}
	s, ok := d.left[key]
	if !ok {
		return nil
	}
	delete(d.left, key)
	if t.Kind() == reflect.Pointer {
		v.Set(reflect.New(t.Elem()))
		v = v.Elem()
	}
	if err := scalar(s, v); err != nil {
		return fmt.Errorf("parameter %s: %w", key, err)
	}
	return nil
}

// list decodes Name.Member.1, Name.Member.2 and so on. An empty list is sent as "Name=".
func (d decoder) list(key, field string, v reflect.Value) error {
	if s, ok := d.left[key]; ok && s == "" {
		delete(d.left, key)
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		return nil
	}
	elem := v.Type().Elem()
	for n := 1; n <= maxList; n++ {
		item := key + "." + listMember(field, elem) + "." + strconv.Itoa(n)
		if _, ok := d.left[item]; !ok && !d.under(item+".") {
			return nil
		}
		e := reflect.New(elem).Elem()
		if err := d.value(item, field, e); err != nil {
			return err
		}
		v.Set(reflect.Append(v, e))
	}
	return fmt.Errorf("parameter %s has more than %d members", key, maxList)
}

func (d decoder) under(prefix string) bool {
	for k := range d.left {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

func scalar(s string, v reflect.Value) error {
	switch {
	case v.Type() == timeType:
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return fmt.Errorf("%q is not a time", s)
		}
		v.Set(reflect.ValueOf(x))
	case v.Kind() == reflect.String:
		v.SetString(s)
	case v.Kind() == reflect.Bool:
		if s != "true" && s != "false" {
			return fmt.Errorf("%q is not true or false", s)
		}
		v.SetBool(s == "true")
	case v.Kind() == reflect.Int32, v.Kind() == reflect.Int64:
		x, err := strconv.ParseInt(s, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		v.SetInt(x)
	case v.Kind() == reflect.Float64:
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		v.SetFloat(x)
	default:
		return fmt.Errorf("a %s cannot be read", v.Type())
	}
	return nil
}
