"""An Envoy that asks Vestibule about the exchanges with an auth service: its whole configuration, as data.

What an Envoy asks with is a filter of its own. It is the same in a bootstrap, in Envoy Gateway and in Istio.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...engine.dialects import DIALECTS, correlation_header

EXTENSIONS = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{EXTENSIONS}.filters"
_HTTP = f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions"
_CORRELATION = sorted({correlation_header(dialect).decode() for dialect in DIALECTS})
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
# Envoy gives each of its threads one connection to Vestibule, which one worker has; above so many exchanges at once it
# makes another, which another worker may have.
_STREAMS = 100
# So many exchanges at once.
_EXCHANGES = 10_000


@dataclass(frozen=True, slots=True)
class Needs:
    """What rules need of Envoy: which bodies they read, and how long they may take over a message, in seconds."""

    request_body: bool
    response_body: bool
    seconds: float
    longest: int = 4 << 20


def seconds(value: float) -> str:
    return f"{value:g}s"


def ext_proc(needs: Needs) -> dict[str, Any]:
    """Write the filter that asks by external processing; its cluster is `vestibule`."""
    held = needs.request_body, needs.response_body
    modes = [_modes(request, response) for request in {False, held[0]} for response in {False, held[1]}]
    return {
        "name": "envoy.filters.http.ext_proc",
        "typed_config": {
            "@type": f"{_FILTERS}.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": _asked(needs),
            "failure_mode_allow": False,
            "message_timeout": seconds(needs.seconds),
            "processing_mode": {"request_header_mode": "SEND", **_modes(False, held[1])},
            "allow_mode_override": True,
            # All of them, where rules read both bodies.
            **({} if all(held) else {"allowed_override_modes": modes}),
            "request_attributes": ["source.address"],
            "response_attributes": ["response.code_details"],
            # A rule may set any header and the method; an edit that Envoy does not make is a 500, not a request that
            # goes on without it.
            "mutation_rules": {"allow_all_routing": True, "allow_envoy": True, "disallow_is_error": True},
        },
    }


def _asked(needs: Needs) -> dict[str, Any]:
    """Say who is asked; where one instance stops, another one is asked instead, as long as no rule has acted: one that
    does is answered first.

    Envoy gives a question up after `max_interval`, which is 0.1s where it is not said.
    """
    return {
        "envoy_grpc": {"cluster_name": "vestibule"},
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset,cancelled,unavailable",
            "num_retries": 3,
            "retry_back_off": {"base_interval": "0.01s", "max_interval": seconds(needs.seconds)},
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{EXTENSIONS}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 5,
        },
    }


def _modes(request: bool, response: bool) -> dict[str, str]:
    """Say which bodies come here."""
    return {
        "response_header_mode": "SEND",
        "request_body_mode": "BUFFERED" if request else "NONE",
        "response_body_mode": "BUFFERED" if response else "NONE",
        "request_trailer_mode": "SKIP",
        "response_trailer_mode": "SKIP",
    }


def ext_authz(needs: Needs) -> dict[str, Any]:
    """Write the filter that asks by external authorization; its cluster is `vestibule`."""
    body = {"max_request_bytes": needs.longest, "allow_partial_message": False, "pack_as_bytes": True}
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": f"{_FILTERS}.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {**_asked(needs), "timeout": seconds(needs.seconds)},
            "failure_mode_allow": False,
            "status_on_error": {"code": "InternalServerError"},
            # Each line of a header by itself, as the client sent it.
            "encode_raw_headers": True,
            **({"with_request_body": body} if needs.request_body else {}),
        },
    }


def ext_authz_http(needs: Needs, requests: Iterable[str]) -> dict[str, Any]:
    """Write the filter that asks by external authorization over HTTP; `requests` are the headers that rules may change.

    Its cluster is `vestibule`, with HTTP/1.1.
    """
    asks = ext_authz(needs)
    given = asks["typed_config"]
    del given["grpc_service"], given["encode_raw_headers"]
    given["http_service"] = {
        "server_uri": {"uri": "http://vestibule", "cluster": "vestibule", "timeout": seconds(needs.seconds)},
        "authorization_response": {
            "allowed_upstream_headers": {"patterns": [{"exact": name, "ignore_case": True} for name in requests]},
            "allowed_client_headers_on_success": {"patterns": [{"exact": name} for name in _CORRELATION]},
        },
    }
    given["allowed_headers"] = {"patterns": [{"safe_regex": {"regex": ".*"}}]}
    return asks


def bootstrap(
    asks: dict[str, Any], *, listen: str, vestibule: str, upstream: str, longest: int, admin: str | None
) -> dict[str, Any]:
    """Write a bootstrap: a listener with the filter that asks, the auth service behind it, and Vestibule."""
    over_grpc = "http_service" not in asks["typed_config"]
    parts = urlsplit(upstream)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    route = {
        "cluster": "auth",
        "timeout": "60s",
        # What the client asked for goes along as X-Forwarded-Host.
        "host_rewrite_literal": parts.netloc,
        "append_x_forwarded_host": True,
    }
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "auth",
        # Whose request it is: the address of the connection, and not what a client writes about itself.
        "use_remote_address": True,
        "server_header_transformation": "PASS_THROUGH",
        # One path for Envoy, the rules and the auth service.
        "normalize_path": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST", "idle_timeout": "75s"},
        "request_headers_timeout": "15s",
        "stream_idle_timeout": "60s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [
            asks,
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
            },
        ],
        "route_config": {
            "name": "auth",
            "virtual_hosts": [
                {"name": "auth", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}
            ],
        },
    }
    found: dict[str, Any] = {
        "static_resources": {
            "listeners": [
                {
                    "name": "auth",
                    "address": _address(listen),
                    # The longest body that a rule reads; one that no rule reads is not held.
                    "per_connection_buffer_limit_bytes": longest,
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                _auth(parts.hostname or "", port, longest, secure=parts.scheme == "https"),
                cluster(vestibule, over_grpc=over_grpc),
            ],
        }
    }
    if admin is not None:
        found["admin"] = {"address": _address(admin)}
    return found


def cluster(vestibule: str, *, over_grpc: bool = True) -> dict[str, Any]:
    """Write the cluster of Vestibule."""
    spoken: dict[str, Any] = {"http2_protocol_options": {"max_concurrent_streams": _STREAMS}}
    return {
        "name": "vestibule",
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP,
                "explicit_http_config": spoken if over_grpc else {"http_protocol_options": {}},
            }
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": _EXCHANGES,
                    "max_requests": _EXCHANGES,
                    "max_pending_requests": _EXCHANGES,
                    "max_retries": _EXCHANGES,
                }
            ]
        },
        # An instance that could not be reached is not asked again until it was seen to be there.
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 1,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "max_ejection_percent": 100,
            "interval": "1s",
            "base_ejection_time": "2s",
            "max_ejection_time": "2s",
        },
        # An instance that stops says so to this check before it closes: its `drain_delay` is for Envoy to hear of it.
        "health_checks": [
            {
                **({"grpc_health_check": {}} if over_grpc else {"tcp_health_check": {}}),
                "timeout": "1s",
                "interval": "1s",
                "no_traffic_interval": "1s",
                "unhealthy_threshold": 1,
                "healthy_threshold": 1,
            }
        ],
        # What was seen counts at once. Otherwise it is held back for a second, in which the only one that is asked may
        # be an instance that has just stopped.
        "common_lb_config": {"update_merge_window": "0s"},
        "load_assignment": _endpoint("vestibule", _address(vestibule)),
    }


def _auth(host: str, port: int, longest: int, *, secure: bool) -> dict[str, Any]:
    shown = f"[{host}]" if ":" in host else host
    found: dict[str, Any] = {
        "name": "auth",
        "type": "STRICT_DNS",
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": longest,
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP,
                "explicit_http_config": {"http_protocol_options": {}},
                **(
                    {"upstream_http_protocol_options": {"auto_sni": True, "auto_san_validation": True}}
                    if secure
                    else {}
                ),
            }
        },
        "load_assignment": _endpoint("auth", _address(f"{shown}:{port}")),
    }
    if secure:
        found["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
                "common_tls_context": {"validation_context": {"trusted_ca": {"filename": _AUTHORITIES}}},
            },
        }
    return found


def _endpoint(name: str, address: dict[str, Any]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _address(address: str) -> dict[str, Any]:
    if address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:")}}
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}
