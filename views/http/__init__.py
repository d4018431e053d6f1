"""HTTP: health for orchestrators, metrics for monitoring, an API and a page for people. All of it is told from the
control store, so one endpoint tells for every worker."""
