package cli

import (
	"errors"
	goio "io"

	"github.com/rs/zerolog"

	"procops/internal/config"
	"procops/internal/logging"
)

// openLog opens procops' own log: the file that the config names, else standard
// error.
func openLog(io IO, cfg config.LogConfig) (log zerolog.Logger, shut func() error, err error) {
	return openLogOn(io.Stderr, cfg)
}

// openLogOn is openLog with something else in the place of standard error.
func openLogOn(stderr goio.Writer, cfg config.LogConfig) (log zerolog.Logger, shut func() error, err error) {
	files, err := openRunFiles(cfg, "")
	if err != nil {
		return log, nil, err
	}
	if files.log != nil {
		log, err = logging.New(files.log, cfg.Level, cfg.Format)
	} else {
		log, err = logging.New(stderr, cfg.Level, cfg.Format)
	}
	if err != nil {
		return log, nil, errors.Join(err, files.close())
	}
	return log, files.close, nil
}
