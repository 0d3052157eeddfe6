"""Signature schemes against the examples of their specifications, and against everything else."""

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http_api.webhooks.delivery import WebhookDelivery
from gateway.http_api.webhooks.hook import Hook

SCHEMES = ["github", "stripe", "slack", "standard", "hmac", "none"]
NOW = 1_700_000_000
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def signature_scheme(scheme: str, secrets: list[str], **options: object) -> Hook:
    return Hook.build("hook", scheme, topic="t", secrets=secrets, **options)


def hexadecimal(secret: str, signed: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), signed, algorithm).hexdigest()


def stripe(secret: str, body: bytes, *, at: int = NOW) -> str:
    return f"t={at},v1={hexadecimal(secret, f'{at}.'.encode() + body)}"


def slack(secret: str, body: bytes, *, at: int = NOW) -> dict[str, str]:
    signature = "v0=" + hexadecimal(secret, f"v0:{at}:".encode() + body)
    return {"x-slack-request-timestamp": str(at), "x-slack-signature": signature}


def standard(secret: str, body: bytes, *, at: int = NOW, name: str = "msg_1") -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{name}.{at}.".encode() + body, "sha256")
    return {
        "webhook-id": name,
        "webhook-timestamp": str(at),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def test_github_s_documented_example():
    scheme = signature_scheme("github", ["It's a Secret to Everybody"])
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    delivery = WebhookDelivery(
        {"x-hub-signature-256": signature, "x-github-delivery": "d1"}, b"Hello, World!"
    )
    assert scheme.verify(delivery, now=NOW)
    assert scheme.delivery_id(delivery) == "d1"


def test_slack_s_documented_example():
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow"
        b"&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner"
        b"&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands"
        b"%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
        b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    headers = {"x-slack-request-timestamp": "1531420618", "x-slack-signature": signature}
    scheme = signature_scheme("slack", ["8f742231b10e8888abcd99yyyzzz85a5"])
    assert scheme.verify(WebhookDelivery(headers, body), now=1531420618)
    assert scheme.delivery_id(WebhookDelivery(headers, body)) == signature


def test_standard_webhooks_documented_example():
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    delivery = WebhookDelivery(headers, b'{"test": 2432232314}')
    scheme = signature_scheme("standard", [STANDARD_SECRET])
    assert scheme.verify(delivery, now=1614265330)
    assert scheme.delivery_id(delivery) == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert not scheme.verify(delivery, now=1614265330 + 301)


def test_stripe_takes_any_of_several_signatures():
    body = b'{"id": "evt_1"}'
    good = stripe("s", body)
    header = good.replace(",v1=", f",v1={'0' * 64},v0=zz,v1=")
    scheme = signature_scheme("stripe", ["s"])
    delivery = WebhookDelivery({"stripe-signature": header}, body)
    assert scheme.verify(delivery, now=NOW)
    assert scheme.delivery_id(delivery) == "evt_1"


@pytest.mark.parametrize(
    ("algorithm", "encoding", "prefix"),
    [("sha256", "hex", "sha256="), ("sha1", "hex", ""), ("sha512", "base64", "v1 ")],
)
def test_hmac_is_configurable(algorithm, encoding, prefix):
    digest = hmac.new(b"s", b"body", algorithm).digest()
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    scheme = signature_scheme(
        "hmac", ["s"], header="X-Sig", algorithm=algorithm, encoding=encoding, prefix=prefix, id_header="X-Id"
    )
    delivery = WebhookDelivery({"x-sig": prefix + text, "x-id": "7"}, b"body")
    assert scheme.verify(delivery, now=NOW)
    assert scheme.delivery_id(delivery) == "7"
    assert not scheme.verify(WebhookDelivery({"x-sig": "x" + prefix + text}, b"body"), now=NOW)
    assert not scheme.verify(WebhookDelivery({"x-sig": prefix + text}, b"Body"), now=NOW)


def signed(scheme: str, secret: str, body: bytes, at: int = NOW) -> dict[str, str]:
    if scheme == "github":
        return {"x-hub-signature-256": "sha256=" + hexadecimal(secret, body)}
    if scheme == "hmac":
        return {"x-sig": hexadecimal(secret, body)}
    if scheme == "stripe":
        return {"stripe-signature": stripe(secret, body, at=at)}
    return (slack if scheme == "slack" else standard)(secret, body, at=at)


def made(scheme: str, *secrets: str, tolerance: float = 300):
    return signature_scheme(scheme, secrets, header="X-Sig", tolerance_seconds=tolerance)


SIGNING = [scheme for scheme in SCHEMES if scheme != "none"]
TIMED = ["stripe", "slack", "standard"]
OTHER_SECRET = "whsec_" + base64.b64encode(b"another key").decode()


@pytest.mark.parametrize("scheme", SIGNING)
def test_both_secrets_of_a_rotation_are_right_and_no_third(scheme):
    verifier = made(scheme, STANDARD_SECRET, OTHER_SECRET)
    for secret in (STANDARD_SECRET, OTHER_SECRET):
        assert verifier.verify(WebhookDelivery(signed(scheme, secret, b"{}"), b"{}"), now=NOW)
    third = "whsec_" + base64.b64encode(b"a third key").decode()
    assert not verifier.verify(WebhookDelivery(signed(scheme, third, b"{}"), b"{}"), now=NOW)


@pytest.mark.parametrize("scheme", SIGNING)
@given(data=st.data())
def test_one_changed_byte_is_refused(scheme, data):
    body = b'{"id": 1}'
    place = data.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[place] ^= data.draw(st.integers(1, 255))
    headers = signed(scheme, STANDARD_SECRET, body)
    assert made(scheme, STANDARD_SECRET).verify(WebhookDelivery(headers, body), now=NOW)
    assert not made(scheme, STANDARD_SECRET).verify(WebhookDelivery(headers, bytes(changed)), now=NOW)


@pytest.mark.parametrize("scheme", SIGNING)
@given(data=st.data())
def test_any_header_is_refused_without_an_exception(scheme, data):
    headers = signed(scheme, STANDARD_SECRET, b"{}")
    name = data.draw(st.sampled_from(sorted(set(headers) - {"webhook-id"})))
    text = st.text(max_size=40) | st.sampled_from(
        ["", "v1", "v1,", "v1,=", "t=,v1=", "t=1,t=2,v1=", "sha256=", "nan", "-1", "1e9", "9" * 400, "١٢٣"]
    )
    value = data.draw(text.filter(lambda value: value != headers[name]))
    assert not made(scheme, STANDARD_SECRET).verify(WebhookDelivery(headers | {name: value}, b"{}"), now=NOW)
    del headers[name]
    assert not made(scheme, STANDARD_SECRET).verify(WebhookDelivery(headers, b"{}"), now=NOW)


@pytest.mark.parametrize("scheme", TIMED)
def test_the_time_window_has_two_ends(scheme):
    headers = signed(scheme, STANDARD_SECRET, b"{}")
    delivery = WebhookDelivery(headers, b"{}")
    verifier = made(scheme, STANDARD_SECRET, tolerance=600)
    assert verifier.verify(delivery, now=NOW + 600)
    assert verifier.verify(delivery, now=NOW - 600)
    assert not verifier.verify(delivery, now=NOW + 601)
    assert not verifier.verify(delivery, now=NOW - 601)


def test_none_lets_everything_pass():
    assert signature_scheme("none", []).verify(WebhookDelivery({}, b""), now=NOW)


@pytest.mark.parametrize(
    ("scheme", "secrets", "options"),
    [
        ("github", [], {}),
        ("github", ["a", ""], {}),
        ("none", ["a"], {}),
        ("rot13", ["a"], {}),
        ("standard", ["whsec_"], {}),
        ("standard", ["hunter2-é"], {}),
        ("hmac", ["hunter2"], {}),
        ("hmac", ["hunter2"], {"header": "x", "algorithm": "md5"}),
        ("hmac", ["hunter2"], {"header": "x", "encoding": "base32"}),
    ],
)
def test_unusable_settings_are_refused_without_naming_a_secret(scheme, secrets, options):
    with pytest.raises(ValueError, match=r".") as caught:
        signature_scheme(scheme, secrets, **options)
    assert "hunter2" not in str(caught.value)


def test_a_scheme_s_repr_holds_no_secret():
    for scheme in SIGNING:
        assert "whsec" not in repr(made(scheme, STANDARD_SECRET))
