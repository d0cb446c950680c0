package rdsapi

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
)

const (
	minRecords = 20
	maxRecords = 100
)

// page returns the part of all that marker and size ask for, in the order of key, and the marker of the next part.
func page[T any](all []T, key func(T) string, marker *string, size *int32) ([]T, *string, error) {
	n := maxRecords
	if size != nil {
		if n = int(*size); n < minRecords || n > maxRecords {
			return nil, nil, awsid.Newf(400, "InvalidParameterValue", "Invalid value %d for MaxRecords. Must be between %d and %d", n, minRecords, maxRecords)
		}
	}
	after := ""
	if value(marker) != "" {
		b, err := base64.RawURLEncoding.DecodeString(*marker)
		if err != nil {
			return nil, nil, awsid.Newf(400, "InvalidParameterValue", "The request token is invalid.")
		}
		after = string(b)
	}
	slices.SortFunc(all, func(x, y T) int { return strings.Compare(key(x), key(y)) })
	out := make([]T, 0, min(n, len(all)))
	for i, x := range all {
		if key(x) <= after {
			continue
		}
		if out = append(out, x); len(out) == n && i+1 < len(all) {
			next := base64.RawURLEncoding.EncodeToString([]byte(key(x)))
			return out, &next, nil
		}
	}
	return out, nil, nil
}

// filter keeps the items that match every filter; by has the known filters, each with the values that an item answers to.
func filter[T any](items []T, filters []types.Filter, by map[string]func(T) []string) ([]T, error) {
	for _, f := range filters {
		name := value(f.Name)
		values, ok := by[name]
		if !ok {
			return nil, awsid.Newf(400, "InvalidParameterValue", "Unrecognized filter name: %s", name)
		}
		if len(f.Values) == 0 {
			return nil, awsid.Newf(400, "InvalidParameterCombination", "Filter %s has no values", name)
		}
		items = slices.DeleteFunc(items, func(x T) bool {
			return !slices.ContainsFunc(values(x), func(v string) bool { return slices.Contains(f.Values, v) })
		})
	}
	return items, nil
}
