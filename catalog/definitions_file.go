package catalog

import "reflect"

// ChangeFile makes these the pipes of the configuration file. Those that are new or
// different run by what they say now. One that is gone ends, unless the store has a
// definition of its name, which counts from then on.
func (d *Definitions) ChangeFile(pipes []Pipe) {
	next := make(map[string]Pipe, len(pipes))
	for _, p := range pipes {
		next[p.Name] = p
	}
	d.applying.Lock()
	defer d.applying.Unlock()
	d.mu.Lock()
	was := d.file
	d.file = next
	var gone []string
	for name, p := range was {
		if _, stays := next[name]; !stays {
			d.unread(p)
			gone = append(gone, name)
		}
	}
	var start []Pipe
	for _, p := range pipes {
		before, had := was[p.Name]
		if had && reflect.DeepEqual(before, p) {
			continue
		}
		if had {
			d.unread(before)
		} else {
			for _, ran := range d.run[p.Name] {
				d.unread(ran)
			}
			delete(d.run, p.Name)
		}
		d.reads(p, p.Name)
		start = append(start, p)
	}
	d.mu.Unlock()
	var stored []string
	for _, name := range gone {
		if _, ok := d.cfg.Store.Look(d.cfg.Kind, name); ok {
			stored = append(stored, d.cfg.Kind+"/"+name)
			continue
		}
		d.cfg.Remove(name)
		d.cfg.Log.Info("pipe removed", "pipe", name)
	}
	for _, p := range start {
		d.cfg.Set(p)
	}
	if len(stored) > 0 {
		d.changed(stored)
	}
}
