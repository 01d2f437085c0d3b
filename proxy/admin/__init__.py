"""The admin port: health and metrics, for operators and never for clients. It serves no rule and forwards nothing."""
