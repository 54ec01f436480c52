package aws

import (
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/schema"
)

// mappingSchemas is the schema registry of a mapping (event-source-mapping.md 12): a
// registry with Confluent's API, by its URL, or one of AWS Glue, by its ARN.
type mappingSchemas struct {
	SchemaRegistryURI       *string            `json:",omitempty"`
	EventRecordFormat       *string            `json:",omitempty"`
	AccessConfigs           []mappingAccess    `json:",omitempty"`
	SchemaValidationConfigs []mappingAttribute `json:",omitempty"`
}

// A mappingAttribute is KEY or VALUE.
type mappingAttribute struct {
	Attribute *string `json:",omitempty"`
}

var registryURIShape = like(1, 10_000, `[a-zA-Z0-9-\/*:_+=.@-]*`)

// constrain collects what breaks the shapes of the fields.
func (s *mappingSchemas) constrain(v *violations, at string) {
	if s == nil {
		return
	}
	v.text(at+"schemaRegistryURI", s.SchemaRegistryURI, registryURIShape)
	v.oneOf(at+"eventRecordFormat", s.EventRecordFormat, "JSON", "SOURCE")
	v.count(at+"accessConfigs", len(s.AccessConfigs), 0, 2)
	v.count(at+"schemaValidationConfigs", len(s.SchemaValidationConfigs), 0, 2)
	for i, access := range s.AccessConfigs {
		place := at + "accessConfigs." + strconv.Itoa(i+1) + ".member."
		v.oneOf(place+"type", access.Type, "BASIC_AUTH", "CLIENT_CERTIFICATE_TLS_AUTH", rootCertificate)
		v.text(place+"uRI", access.URI, accessURIShape)
	}
	for i, one := range s.SchemaValidationConfigs {
		v.oneOf(at+"schemaValidationConfigs."+strconv.Itoa(i+1)+".member.attribute", one.Attribute, "KEY", "VALUE")
	}
}

// registry says whether there is a schema registry.
func (k *mappingKafka) registry() bool {
	return k != nil && k.SchemaRegistryConfig != nil && textOf(k.SchemaRegistryConfig.SchemaRegistryURI) != ""
}

// decodesKeys says whether keys are checked by a schema.
func (k *mappingKafka) decodesKeys() bool {
	return k.registry() && slices.ContainsFunc(k.SchemaRegistryConfig.SchemaValidationConfigs, func(one mappingAttribute) bool { return textOf(one.Attribute) == "KEY" })
}

// check reports what cannot work.
func (s *mappingSchemas) check() error {
	uri := textOf(s.SchemaRegistryURI)
	if uri == "" {
		if s.EventRecordFormat == nil && len(s.AccessConfigs) == 0 && len(s.SchemaValidationConfigs) == 0 {
			return nil // as an update takes a registry away
		}
		return invalidParameter("SchemaRegistryURI is required in SchemaRegistryConfig.")
	}
	if strings.HasPrefix(uri, "arn:") {
		if _, ok := schema.GlueRegion(uri); !ok {
			return invalidParameter("SchemaRegistryURI must be the ARN of an AWS Glue schema registry, or the URL of a Confluent-compatible one.")
		}
		if len(s.AccessConfigs) > 0 {
			return invalidParameter("AccessConfigs are not supported for an AWS Glue schema registry.")
		}
	} else if u, err := url.Parse(uri); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return invalidParameter("SchemaRegistryURI must be an HTTP or HTTPS URL.")
	}
	if s.EventRecordFormat == nil {
		return invalidParameter("EventRecordFormat is required in SchemaRegistryConfig.")
	}
	if len(s.SchemaValidationConfigs) == 0 {
		return invalidParameter("SchemaValidationConfigs must name KEY, VALUE or both.")
	}
	seen := map[string]bool{}
	for _, one := range s.SchemaValidationConfigs {
		if one.Attribute == nil || seen[*one.Attribute] {
			return invalidParameter("SchemaValidationConfigs must name KEY and VALUE at most once each.")
		}
		seen[*one.Attribute] = true
	}
	for _, access := range s.AccessConfigs {
		if access.Type == nil || access.URI == nil {
			return invalidParameter("An access configuration of a schema registry needs Type and URI.")
		}
		if seen[*access.Type] {
			return invalidParameter("At most one " + *access.Type + " can be specified for a schema registry.")
		}
		seen[*access.Type] = true
	}
	return nil
}

// compile returns what the engine needs; nil: there is no registry.
func (s *mappingSchemas) compile() *catalog.MappingSchemas {
	if s == nil || s.SchemaRegistryURI == nil {
		return nil
	}
	out := &catalog.MappingSchemas{URL: *s.SchemaRegistryURI, Source: textOf(s.EventRecordFormat) == "SOURCE"}
	for _, one := range s.SchemaValidationConfigs {
		out.Key = out.Key || textOf(one.Attribute) == "KEY"
		out.Value = out.Value || textOf(one.Attribute) == "VALUE"
	}
	for _, access := range s.AccessConfigs {
		switch *access.Type {
		case "BASIC_AUTH":
			out.Basic = *access.URI
		case "CLIENT_CERTIFICATE_TLS_AUTH":
			out.Certificate = *access.URI
		default:
			out.RootCA = *access.URI
		}
	}
	return out
}
