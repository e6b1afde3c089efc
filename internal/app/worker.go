package app

import (
	"procops/internal/config"
	"procops/internal/gearman"
)

// GearmanClient returns a client of the job servers that the config names, or
// of others if servers has any. It needs no state directory and opens nothing
// but the config.
func GearmanClient(opt Options, servers ...gearman.Address) (*gearman.Client, error) {
	path, err := config.Find(opt.Config, opt.Getenv)
	if err != nil {
		return nil, err
	}
	cfg, err := config.Load(path, opt.Getenv)
	if err != nil {
		return nil, err
	}
	section := cfg.Worker
	if len(servers) > 0 {
		section.Servers = servers
	}
	return gearman.NewClient(section), nil
}
