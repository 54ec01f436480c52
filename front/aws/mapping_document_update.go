package aws

// tidy takes out what stands for nothing.
func (d *mappingDocument) tidy() {
	if f := d.FilterCriteria; f != nil && len(f.Filters) == 0 {
		d.FilterCriteria = nil
	}
	if d.onFailure() == "" {
		d.DestinationConfig = nil
	}
	if p := d.ProvisionedPollerConfig; p != nil {
		if textOf(p.PollerGroupName) == "" {
			p.PollerGroupName = nil
		}
		if *p == (mappingPollers{}) {
			d.ProvisionedPollerConfig = nil
		}
	}
	if textOf(d.KMSKeyArn) == "" {
		d.KMSKeyArn = nil
	}
	for _, k := range []*mappingKafka{d.AmazonManagedKafkaEventSourceConfig, d.SelfManagedKafkaEventSourceConfig} {
		if k != nil && !k.registry() {
			k.SchemaRegistryConfig = nil
		}
	}
	if l := d.LoggingConfig; l != nil && l.SystemLogLevel == nil {
		d.LoggingConfig = nil
	}
	if m := d.MetricsConfig; m != nil && len(m.Metrics) == 0 {
		d.MetricsConfig = nil
	}
}

// forgetSource drops what the request of an update does not have: where a mapping reads,
// and from where on, never changes.
func (d *mappingDocument) forgetSource() {
	d.EventSourceArn, d.SelfManagedEventSource, d.Topics, d.StartingPosition, d.StartingPositionTimestamp = nil, nil, nil, nil, nil
}

// update takes over what an update says; what it leaves out stays.
func (d *mappingDocument) update(q *mappingDocument) error {
	for _, pair := range [][2]*mappingKafka{{d.AmazonManagedKafkaEventSourceConfig, q.AmazonManagedKafkaEventSourceConfig}, {d.SelfManagedKafkaEventSourceConfig, q.SelfManagedKafkaEventSourceConfig}} {
		have, want := pair[0], pair[1]
		switch {
		case want == nil:
			continue
		case have == nil:
			return invalidParameter("The Kafka configuration is not that of the given event source.")
		case want.ConsumerGroupID != nil && *want.ConsumerGroupID != textOf(have.ConsumerGroupID):
			return invalidParameter("ConsumerGroupId cannot be changed.")
		}
		have.SchemaRegistryConfig = want.SchemaRegistryConfig
	}
	replace(&d.BatchSize, q.BatchSize)
	replace(&d.MaximumBatchingWindowInSeconds, q.MaximumBatchingWindowInSeconds)
	replace(&d.FilterCriteria, q.FilterCriteria)
	replace(&d.KMSKeyArn, q.KMSKeyArn)
	if q.SourceAccessConfigurations != nil {
		d.SourceAccessConfigurations = q.SourceAccessConfigurations
	}
	replace(&d.DestinationConfig, q.DestinationConfig)
	replace(&d.BisectBatchOnFunctionError, q.BisectBatchOnFunctionError)
	replace(&d.MaximumRetryAttempts, q.MaximumRetryAttempts)
	replace(&d.MaximumRecordAgeInSeconds, q.MaximumRecordAgeInSeconds)
	replace(&d.FunctionResponseTypes, q.FunctionResponseTypes)
	d.updatePollers(q.ProvisionedPollerConfig)
	replace(&d.MetricsConfig, q.MetricsConfig)
	replace(&d.LoggingConfig, q.LoggingConfig)
	return nil
}

// updatePollers takes over the pollers that an update says, as a whole but for the group:
// an empty name leaves it, and without a name the mapping stays in it. Nothing in q is
// on-demand mode.
func (d *mappingDocument) updatePollers(q *mappingPollers) {
	switch have := d.ProvisionedPollerConfig; {
	case q == nil:
	case have == nil || *q == (mappingPollers{}):
		d.ProvisionedPollerConfig = q
	case q.MinimumPollers == nil && q.MaximumPollers == nil:
		have.PollerGroupName = q.PollerGroupName
	default:
		if q.PollerGroupName == nil {
			q.PollerGroupName = have.PollerGroupName
		}
		d.ProvisionedPollerConfig = q
	}
}
