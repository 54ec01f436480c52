package app

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/klamm-gateway/klamm/accesslog"
	"github.com/klamm-gateway/klamm/front"
	"github.com/klamm-gateway/klamm/front/auth"
	"github.com/klamm-gateway/klamm/history"
)

// look makes what lets people look at requests: the access log and series.
func (a *App) look() (err error) {
	a.frontMetrics = front.NewMetrics(a.registry)
	a.logMetrics = accesslog.NewMetrics(a.registry)
	a.reloads = newReloads(a.registry)
	a.registry.MustRegister(certificates{a})
	a.trends = history.New(history.Config{Gather: a.trending(), Lag: a.lags, Log: a.log})
	if a.cfg.AccessLog.Enabled() {
		a.accessLog, err = accesslog.Open(a.cfg.AccessLog, a.logMetrics, a.log)
		a.now.log = a.accessLog
	}
	return err
}

// trending returns the series that the history is made of. All of them together would be
// gathered for it every few seconds: thousands, where there are many pipes.
func (a *App) trending() prometheus.Gatherer {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), a.gate.Produced())
	r.MustRegister(a.frontMetrics.Trends()...)
	r.MustRegister(a.pipeMetrics.Trends()...)
	return r
}

// lags are how many records each pipe is behind.
func (a *App) lags(ctx context.Context) (map[string]int64, error) {
	all, err := a.runner.List(ctx)
	if err != nil {
		return nil, err
	}
	behind := make(map[string]int64, len(all))
	for _, s := range all {
		behind[s.Pipe] = s.Lag
	}
	return behind, nil
}

// unlook writes and sends what is left.
func (a *App) unlook() {
	a.tracer.Close()
	if a.accessLog != nil {
		a.accessLog.Close()
	}
}

// keysOf returns the API keys of a chain that are made at run time; nil: none are
// taken.
func keysOf(chain *auth.Chain) *auth.Keys {
	if chain == nil {
		return nil
	}
	return chain.Keys()
}

// certificates tells when the served certificates end (gateway-policies.md 5.9), and how
// often they were renewed by ACME.
type certificates struct{ app *App }

var (
	expiry   = prometheus.NewDesc("klamm_cert_expiry_seconds", "Seconds until a served certificate ends, by the address that it is served at; negative: it has.", []string{"name"}, nil)
	renewals = prometheus.NewDesc("klamm_acme_renewals_total", "Certificates ordered by ACME since the start or a change of tls.acme, by the address that they are served at and the result: succeeded or failed.", []string{"name", "result"}, nil)
)

// Describe tells the series.
func (c certificates) Describe(all chan<- *prometheus.Desc) {
	all <- expiry
	all <- renewals
}

// Collect looks at all doors.
func (c certificates) Collect(all chan<- prometheus.Metric) {
	for _, d := range c.app.doors {
		if d.tls == nil {
			continue
		}
		now, _ := d.tls.now()
		name := d.Addr().String()
		if ends, ok := now.Expires(); ok {
			all <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, time.Until(ends).Seconds(), name)
		}
		if succeeded, failed, ok := now.Renewals(); ok {
			all <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(succeeded), name, "succeeded")
			all <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(failed), name, "failed")
		}
	}
}
