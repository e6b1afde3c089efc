// Package imports is what the importers of other supervisors' files share: the
// procops.toml that they write, with a comment wherever something could not be
// carried over.
package imports
