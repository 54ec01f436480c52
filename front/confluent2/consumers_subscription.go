package confluent2

import (
	"errors"
	"net/http"

	"github.com/klamm-gateway/klamm/gate"
)

// subscribe serves POST .../subscription. The pattern is a regular expression of
// RE2, which lacks some of Java's.
func (k consumerAPI) subscribe(c consumerCall) error {
	body, err := k.text(c)
	if err != nil {
		return err
	}
	s, err := parseSubscription(body)
	if err == nil {
		err = k.checkSubscription(s)
	}
	if err != nil {
		return k.refusedSubscription(err)
	}
	switch {
	case s.topics != nil && len(s.topics) == 0: // as Kafka's own client takes it
		err = c.Unsubscribe(c.r.Context())
	case s.topics != nil:
		err = c.Subscribe(c.r.Context(), s.topics, "")
	case s.pattern != "":
		err = c.Subscribe(c.r.Context(), nil, s.pattern)
	}
	if err != nil {
		return k.refusedSubscription(err)
	}
	return c.done()
}

// checkSubscription refuses a subscription that the profile does not allow.
func (k consumerAPI) checkSubscription(s subscription) error {
	if k.habits.cleanNames && hasControl(s.topics...) {
		return errControl
	}
	if !k.habits.oneSubscription {
		return nil
	}
	strimzi := k.api.cfg.Profile == profileStrimzi
	topics := len(s.topics) > 0 || strimzi && s.topics != nil // an empty list ends a subscription there
	switch {
	case topics && s.pattern != "":
		return refuse(http.StatusConflict, 40903, "Illegal state: topics and topic_pattern exclude each other")
	case !topics && s.pattern == "" && strimzi:
		return refuse(unprocessable, 422, "topics or topic_pattern must be there")
	case !topics && s.pattern == "":
		return refuse(http.StatusConflict, 40903, "Illegal state: neither topics nor topic_pattern is there")
	}
	return nil
}

// refusedSubscription says an error of a subscription or an assignment as the
// profile does.
func (k consumerAPI) refusedSubscription(err error) error {
	var known *refusal
	switch {
	case k.api.cfg.Profile == profileKarapace && errors.As(err, &known) && known.cause == shapeCause:
		return refuse(unprocessable, 422, "%s", known.message)
	case k.api.cfg.Profile == profileStrimzi && !errors.As(err, &known) && gate.Classify(err) == gate.Invalid:
		return refuse(http.StatusInternalServerError, 500, "%s", err.Error())
	}
	return err
}

// subscription serves GET .../subscription.
func (k consumerAPI) subscription(c consumerCall) error {
	if k.api.cfg.Profile == profileStrimzi {
		return k.assigned(c)
	}
	topics, err := c.Subscription(c.r.Context())
	if err != nil {
		return err
	}
	return c.respond(map[string][]string{"topics": topics})
}

// assigned answers with the topics of the assignment, and their partitions, which
// is what Strimzi's bridge calls the subscription.
func (k consumerAPI) assigned(c consumerCall) error {
	topics, numbers := []string{}, []map[string][]int32{}
	for _, p := range c.Assignment() { // sorted
		if n := len(topics); n == 0 || topics[n-1] != p.Topic {
			topics, numbers = append(topics, p.Topic), append(numbers, map[string][]int32{})
		}
		last := numbers[len(numbers)-1]
		last[p.Topic] = append(last[p.Topic], p.Partition)
	}
	return c.respond(struct {
		Topics     []string             `json:"topics"`
		Partitions []map[string][]int32 `json:"partitions"`
	}{topics, numbers})
}

// unsubscribe serves DELETE .../subscription.
func (k consumerAPI) unsubscribe(c consumerCall) error {
	if err := c.Unsubscribe(c.r.Context()); err != nil {
		return err
	}
	return c.done()
}

// A partitionName is a partition in this API's requests and answers.
type partitionName struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

// assign serves POST .../assignments.
func (k consumerAPI) assign(c consumerCall) error {
	partitions, err := k.partitions(c)
	if err != nil {
		return err
	}
	if err := c.Assign(c.r.Context(), partitions); err != nil {
		return k.refusedSubscription(err)
	}
	return c.done()
}

// assignment serves GET .../assignments.
func (k consumerAPI) assignment(c consumerCall) error {
	names := []partitionName{}
	for _, p := range c.Assignment() {
		names = append(names, partitionName{p.Topic, p.Partition})
	}
	return c.respond(map[string][]partitionName{"partitions": names})
}
