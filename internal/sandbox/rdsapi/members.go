package rdsapi

import "reflect"

// The query protocol names the members of a list, and a wrong name is silently skipped by every client. The name is that of
// the member's type, with the exceptions below; a test compares them with the source of the SDK.

// memberOfType are the names of structures in lists that are not called like their type.
var memberOfType = map[string]string{
	"AdditionalStorageVolume":       "member",
	"AdditionalStorageVolumeOutput": "member",
	"BlueGreenDeployment":           "member",
	"BlueGreenDeploymentTask":       "member",
	"DBParameterGroupStatus":        "DBParameterGroup",
	"DBSecurityGroupMembership":     "DBSecurityGroup",
	"ModifyAdditionalStorageVolume": "member",
	"SwitchoverDetail":              "member",
	"TagSpecification":              "item",
}

// memberOfField are the names of strings in lists that are not called "member", by the field that holds the list.
var memberOfField = map[string]string{
	"AvailabilityZones":                "AvailabilityZone",
	"DBSecurityGroups":                 "DBSecurityGroupName",
	"EventCategories":                  "EventCategory",
	"ReadReplicaDBClusterIdentifiers":  "ReadReplicaDBClusterIdentifier",
	"ReadReplicaDBInstanceIdentifiers": "ReadReplicaDBInstanceIdentifier",
	"Values":                           "Value",
	"VpcSecurityGroupIds":              "VpcSecurityGroupId",
}

// listMember is the name of the members of a list, in requests and in answers.
func listMember(field string, elem reflect.Type) string {
	name, names, other := field, memberOfField, "member"
	if elem.Kind() == reflect.Struct {
		name, names, other = elem.Name(), memberOfType, elem.Name()
	}
	if m, ok := names[name]; ok {
		return m
	}
	return other
}
