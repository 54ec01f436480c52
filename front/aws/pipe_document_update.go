package aws

import "encoding/json"

// update takes over what an UpdatePipe names; what it leaves out stays
// (pipes.md 2).
func (p *pipeDocument) update(u *pipeDocument) error {
	if u.SourceParameters != nil {
		if err := p.updateSource(u.SourceParameters); err != nil {
			return err
		}
	}
	replace(&p.Description, u.Description)
	replace(&p.RoleArn, u.RoleArn)
	replace(&p.KmsKeyIdentifier, u.KmsKeyIdentifier)
	if u.Enrichment != nil {
		p.Enrichment = u.Enrichment
		if *u.Enrichment == "" {
			p.Enrichment, p.EnrichmentParameters = nil, nil
		}
	}
	if u.EnrichmentParameters != nil {
		if p.EnrichmentParameters == nil {
			p.EnrichmentParameters = &inputParameters{}
		}
		p.EnrichmentParameters.update(u.EnrichmentParameters)
	}
	if u.Target != nil && p.Target != nil && kindOfTarget(*u.Target) != kindOfTarget(*p.Target) && p.TargetParameters != nil {
		// Those of another kind would mean nothing.
		p.TargetParameters = &targetParameters{inputParameters: inputParameters{InputTemplate: p.TargetParameters.InputTemplate}}
	}
	replace(&p.Target, u.Target)
	if u.TargetParameters != nil {
		if p.TargetParameters == nil {
			p.TargetParameters = &targetParameters{}
		}
		p.TargetParameters.update(u.TargetParameters)
	}
	replace(&p.LogConfiguration, u.LogConfiguration)
	return nil
}

func (p *inputParameters) update(u *inputParameters) {
	if u.InputTemplate != nil {
		p.InputTemplate = u.InputTemplate
		if *u.InputTemplate == "" {
			p.InputTemplate = nil
		}
	}
	if u.HttpParameters != nil {
		p.HttpParameters = u.HttpParameters
	}
}

func (p *targetParameters) update(u *targetParameters) {
	p.inputParameters.update(&u.inputParameters)
	for _, m := range []struct{ to, from *json.RawMessage }{
		{&p.LambdaFunctionParameters, &u.LambdaFunctionParameters}, {&p.StepFunctionStateMachineParameters, &u.StepFunctionStateMachineParameters},
		{&p.KinesisStreamParameters, &u.KinesisStreamParameters}, {&p.EcsTaskParameters, &u.EcsTaskParameters}, {&p.BatchJobParameters, &u.BatchJobParameters},
		{&p.SqsQueueParameters, &u.SqsQueueParameters}, {&p.RedshiftDataParameters, &u.RedshiftDataParameters},
		{&p.SageMakerPipelineParameters, &u.SageMakerPipelineParameters}, {&p.EventBridgeEventBusParameters, &u.EventBridgeEventBusParameters},
		{&p.CloudWatchLogsParameters, &u.CloudWatchLogsParameters}, {&p.TimestreamParameters, &u.TimestreamParameters},
	} {
		if *m.from != nil {
			*m.to = *m.from
		}
	}
}

// updateSource takes over what can be changed of a source; what cannot be is an
// error if it is another.
func (p *pipeDocument) updateSource(u *sourceParameters) error {
	if u.foreign() {
		return invalid("The source of a pipe cannot be changed: it is a Kafka cluster, and has the parameters of one.")
	}
	if p.SourceParameters == nil {
		p.SourceParameters = &sourceParameters{}
	}
	if u.FilterCriteria != nil {
		p.SourceParameters.FilterCriteria = u.FilterCriteria
		if len(u.FilterCriteria.Filters) == 0 {
			p.SourceParameters.FilterCriteria = nil
		}
	}
	for _, m := range []struct {
		name     string
		to, from *kafkaSource
	}{
		{"SelfManagedKafkaParameters", p.SourceParameters.SelfManagedKafkaParameters, u.SelfManagedKafkaParameters},
		{"ManagedStreamingKafkaParameters", p.SourceParameters.ManagedStreamingKafkaParameters, u.ManagedStreamingKafkaParameters},
	} {
		if m.from == nil {
			continue
		}
		if m.to == nil {
			return invalid("The source of a pipe cannot be changed: " + m.name + " does not fit it.")
		}
		if err := m.to.update(m.from); err != nil {
			return err
		}
	}
	return nil
}

func (k *kafkaSource) update(u *kafkaSource) error {
	for _, fixed := range []struct {
		name     string
		was, now *string
	}{{"TopicName", k.TopicName, u.TopicName}, {"StartingPosition", k.StartingPosition, u.StartingPosition}, {"ConsumerGroupID", k.ConsumerGroupID, u.ConsumerGroupID}} {
		if fixed.now != nil && (fixed.was == nil || *fixed.was != *fixed.now) {
			return invalid(fixed.name + " of a pipe cannot be changed.")
		}
	}
	replace(&k.BatchSize, u.BatchSize)
	replace(&k.MaximumBatchingWindowInSeconds, u.MaximumBatchingWindowInSeconds)
	if u.Credentials != nil {
		k.Credentials = u.Credentials
	}
	replace(&k.ServerRootCaCertificate, u.ServerRootCaCertificate)
	replace(&k.Vpc, u.Vpc)
	return nil
}
