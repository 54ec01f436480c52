package gate

import "github.com/twmb/franz-go/pkg/kgo"

// refusals are the records of a call that break the rules of their topic where the
// others are written all the same. The zero value is none.
type refusals struct {
	records []*kgo.Record // of the whole call
	errs    map[int]error // by their places among them
}

// validate checks the records of a call. It returns those that are to be written
// and those that are not, or, where one bad record refuses all, an *Invalidity.
func (g *Gate) validate(topic string, records []*kgo.Record) ([]*kgo.Record, refusals, error) {
	v := g.validation.Load()
	if v == nil {
		return records, refusals{}, nil
	}
	c := v.of(topic)
	if c == nil {
		return records, refusals{}, nil
	}
	if !c.partial || len(records) < 2 {
		if all := v.check(c, records, nil); all != nil {
			return nil, refusals{}, all.cause()
		}
		return records, refusals{}, nil
	}
	refused := refusals{records: records}
	v.check(c, records, func(i int, own *Invalidity) {
		if refused.errs == nil {
			refused.errs = map[int]error{}
		}
		refused.errs[i] = own.cause()
	})
	if refused.errs == nil {
		return records, refusals{}, nil
	}
	valid := make([]*kgo.Record, 0, len(records)-len(refused.errs))
	for i, r := range records {
		if refused.errs[i] == nil {
			valid = append(valid, r)
		}
	}
	return valid, refused, nil
}

// validateAll is validate for calls whose records are written all or not at all.
func (g *Gate) validateAll(topic string, records []*kgo.Record) error {
	v := g.validation.Load()
	if v == nil {
		return nil
	}
	c := v.of(topic)
	if c == nil {
		return nil
	}
	if all := v.check(c, records, nil); all != nil {
		return all.cause()
	}
	return nil
}

// among puts the outcomes of the refused records between those of the others.
func (f refusals) among(results kgo.ProduceResults) kgo.ProduceResults {
	if len(f.errs) == 0 {
		return results
	}
	all := make(kgo.ProduceResults, 0, len(f.records))
	for i, r := range f.records {
		if err := f.errs[i]; err != nil {
			all = append(all, kgo.ProduceResult{Record: r, Err: err})
			continue
		}
		all = append(all, results[0])
		results = results[1:]
	}
	return all
}
