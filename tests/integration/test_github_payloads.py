"""Real GitHub webhooks for a thousand subscribers, as examples/github_webhooks.py sends them."""

import importlib.util
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples/github_webhooks.py"
SUBSCRIBERS = 1_000
SETTINGS = """
limits.outbox_bytes = "16MiB"

[[hooks]]
name = "github"
scheme = "github"
secret = "env:GITHUB_WEBHOOK_SECRET"
topic = "github/{body.repository.full_name}/{header.x-github-event}"
"""


def load_example():
    spec = importlib.util.spec_from_file_location("github_webhooks", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def test_every_subscriber_gets_what_a_naive_matcher_says_in_order(gateway_process, capsys):
    example = load_example()
    gateway = gateway_process(SETTINGS, {"GITHUB_WEBHOOK_SECRET": "It's a secret"})
    payloads = example.load_payloads(example.PAYLOADS)
    assert len(payloads) > 700, "the npm package of examples is not installed: run npm ci in tests/"
    filters = example.filters_for(payloads, SUBSCRIBERS)
    report = await example.run(gateway.url, "It's a secret", payloads, filters)
    with capsys.disabled():
        print(f"\n{report}")
    assert report.wrong == []
    assert report.altered == 0
    assert (report.payloads, report.subscribers) == (len(payloads), SUBSCRIBERS)
    assert report.deliveries == sum(
        example.matches(topic_filter, payload.topic) for topic_filter in filters for payload in payloads
    )


def test_the_filters_are_a_mix():
    example = load_example()
    payloads = example.load_payloads(example.PAYLOADS)
    filters = example.filters_for(payloads, SUBSCRIBERS)
    exact = sum("+" not in topic_filter and "#" not in topic_filter for topic_filter in filters)
    assert 500 < exact < 700
    assert sum("+" in topic_filter for topic_filter in filters) > 100
    assert sum(topic_filter.endswith("#") for topic_filter in filters) > 100
    topics = {payload.topic for payload in payloads}
    assert any(topic.startswith("github/-/") for topic in topics)
