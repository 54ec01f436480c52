package aws

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/klamm-gateway/klamm/catalog"
	"github.com/klamm-gateway/klamm/target/bus"
	"github.com/klamm-gateway/klamm/transform"
)

// busParameters are those of a pipe whose target is an event bus (pipes.md 8). EndpointId
// is kept and has no meaning.
type busParameters struct {
	EndpointId, DetailType, Source, Time *string
	Resources                            []string
}

var (
	busEndpointShape = like(1, 50, `[A-Za-z0-9\-]+[\.][A-Za-z0-9\-]+`).hidden()
	busSourceShape   = like(1, 256, `[^\x00-\x1F\x7F]*[/\.\-_A-Za-z0-9]+[^\x00-\x1F\x7F]*|`+pathForm).as(`.*(?=[/\.\-_A-Za-z0-9]+)((?!aws\.).*)|(\$(\.[\w/_-]+(\[(\d+|\*)\])*)*).*`).hidden()
	busTimeShape     = like(1, 256, `\$(\.[\w/_-]+(\[(\d+|\*)\])*)*`)
	busArnShape      = like(1, 1600, arnForm+`|`+pathForm)
)

const busParametersPath = "targetParameters.eventBridgeEventBusParameters"

// parseBus reads the parameters; nil stands for none.
func parseBus(raw json.RawMessage) (p busParameters, err error) {
	if len(raw) > 0 {
		err = unmarshal(raw, &p)
	}
	return p, err
}

// checkBus reports what is wrong with the parameters of a bus.
func checkBus(v *violations, raw json.RawMessage) {
	p, err := parseBus(raw)
	if err != nil {
		v.say(busParametersPath, "want a structure with DetailType, Source, Resources, Time and EndpointId")
		return
	}
	at := busParametersPath + "."
	v.text(at+"endpointId", p.EndpointId, busEndpointShape)
	v.text(at+"detailType", p.DetailType, long(1, 128).hidden())
	v.text(at+"source", p.Source, busSourceShape)
	v.text(at+"time", p.Time, busTimeShape)
	v.count(at+"resources", len(p.Resources), 0, 10)
	v.each(at+"resources", p.Resources, busArnShape)
	if p.Source != nil && strings.HasPrefix(*p.Source, "aws.") {
		v.say(at+"source", "a source cannot begin with aws.")
	}
	for _, value := range append([]string{textOf(p.DetailType), textOf(p.Source), textOf(p.Time)}, p.Resources...) {
		if !isDynamic(value) {
			continue
		}
		if _, rest, err := transform.CutPath(value); err != nil || rest != "" {
			v.say(strings.TrimSuffix(at, "."), "a value that begins with $. is a path, and this is none")
		}
	}
}

// busOfPipe makes the target of a pipe that puts its events on a bus.
func (a *API) busOfPipe(ctx context.Context, name, source string, doc *pipeDocument) (catalog.Target, error) {
	var raw json.RawMessage
	if doc.TargetParameters != nil {
		raw = doc.TargetParameters.EventBridgeEventBusParameters
	}
	p, err := parseBus(raw)
	if err != nil {
		return catalog.Target{}, err
	}
	put := bus.Put{Account: a.cfg.Account, Region: a.cfg.Region, Source: "Pipe " + name, DetailType: "Event from " + source, Resources: p.Resources, Time: textOf(p.Time)}
	if p.Source != nil {
		put.Source = *p.Source
	}
	if p.DetailType != nil {
		put.DetailType = *p.DetailType
	}
	return a.busOf(ctx, *doc.Target, map[string]any{"put": put})
}
