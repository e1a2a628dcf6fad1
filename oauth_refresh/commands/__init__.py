"""The commands of `oauth-refresh`, one file per group. They work on the deployment in click's context."""
