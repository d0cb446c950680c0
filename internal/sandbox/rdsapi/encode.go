package rdsapi

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"reflect"
	"time"
)

// encodeXML writes the fields of out, a pointer to an SDK output structure, as the XML inside <ActionResult>.
func encodeXML(out any) ([]byte, error) {
	var b bytes.Buffer
	e := xml.NewEncoder(&b)
	if err := encodeFields(e, reflect.ValueOf(out).Elem()); err != nil {
		return nil, err
	}
	if err := e.Flush(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func encodeFields(e *xml.Encoder, v reflect.Value) error {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Name == "ResultMetadata" {
			continue
		}
		if err := encodeValue(e, f.Name, f.Name, v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

// encodeValue writes v as an element called name; nothing for what is nil, or an empty enumeration. field is the name of the
// field that it comes from.
func encodeValue(e *xml.Encoder, name, field string, v reflect.Value) error {
	pointer := v.Kind() == reflect.Pointer
	if pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	start := xml.StartElement{Name: xml.Name{Local: name}}
	switch {
	case v.Type() == timeType:
		t, _ := v.Interface().(time.Time)
		return e.EncodeElement(t.UTC().Format("2006-01-02T15:04:05.000Z"), start)
	case v.Kind() == reflect.Struct:
		if err := e.EncodeToken(start); err != nil {
			return err
		}
		if err := encodeFields(e, v); err != nil {
			return err
		}
		return e.EncodeToken(start.End())
	case v.Kind() == reflect.Slice:
		if v.IsNil() {
			return nil
		}
		if err := e.EncodeToken(start); err != nil {
			return err
		}
		member := listMember(field, v.Type().Elem())
		for i := range v.Len() {
			if err := encodeValue(e, member, field, v.Index(i)); err != nil {
				return err
			}
		}
		return e.EncodeToken(start.End())
	case v.Kind() == reflect.String && v.Len() == 0 && !pointer:
		return nil
	}
	return e.EncodeElement(fmt.Sprint(v.Interface()), start)
}
