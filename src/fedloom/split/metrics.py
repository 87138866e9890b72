"""What a host tells Prometheus, on a port of its own: counts and times, and nothing of what a request holds."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from fedloom.core.errors import FedloomError

_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Metrics:
    """The figures of one host, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "fedloom_host_requests", "Requests, by what they ask and how they end.", ["kind", "outcome"], registry=own
        )
        self.batch = Histogram(
            "fedloom_host_batch", "Requests that share a pass of the model.", buckets=_BATCHES, registry=own
        )
        self.waited = Histogram(
            "fedloom_host_wait_seconds", "Seconds that a request waits for the model.", buckets=_SECONDS, registry=own
        )
        self.model_seconds = Counter("fedloom_host_model_seconds", "Seconds that the model works.", registry=own)
        self.bytes = Counter("fedloom_host_bytes", "Bytes of requests and answers.", ["way"], registry=own)
        self._gauges = {
            name: Gauge(f"fedloom_host_{name}", text, registry=own)
            for name, text in (
                ("queue_length", "Requests that wait for the model."),
                ("open_requests", "Requests that arrive, wait or are answered."),
                ("in_flight_bytes", "Bytes of requests that arrive, wait or are answered."),
                ("held_bytes", "Bytes of rows that are held between requests."),
            )
        }

    def watch(self, **sources: Callable[[], float]) -> None:
        """Where gauges read their values, by their names."""
        for name, source in sources.items():
            self._gauges[name].set_function(source)

    def serve(self, host: str, port: int) -> Callable[[], None]:
        """Answer at ``http://HOST:PORT/metrics`` until what is returned is called.

        Raises:
            FedloomError: the port is taken.
        """
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise FedloomError(f"--metrics {host}:{port}: {error.strerror or error}. Fix: another port.") from None

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end
