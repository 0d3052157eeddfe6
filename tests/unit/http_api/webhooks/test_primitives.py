"""The seven primitives by themselves: each keeps its law for whatever it is told and whatever is sent."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from urllib.parse import quote, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BadFrame, GatewayError, TooLarge
from gateway.http_api.bodies import unpacked
from gateway.http_api.webhooks.answers import AnswerTemplate, BadAnswer, ChallengeRule
from gateway.http_api.webhooks.declaration import Answer, Challenge, declared, merged
from gateway.http_api.webhooks.delivery import WebhookDelivery
from gateway.http_api.webhooks.hook import Hook
from gateway.http_api.webhooks.keys import public_key
from gateway.http_api.webhooks.signatures import seconds_of
from gateway.http_api.webhooks.sources import Condition, Source
from gateway.http_api.webhooks.templates import MissingValue, Signing, Template
from gateway.http_api.webhooks.url_patterns import UrlPatterns

NOW = 1_700_000_000
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


def delivery(value: object = None, **more: object) -> WebhookDelivery:
    body = b"" if value is None else json.dumps(value).encode()
    return WebhookDelivery({}, body, **more)  # type: ignore[arg-type]


# --- signed


@st.composite
def ways_to_sign(draw):
    """A declaration, and the headers of a delivery that is signed so."""
    algorithm = draw(st.sampled_from(["sha1", "sha256", "sha512"]))
    encoding = draw(st.sampled_from(["hex", "base64"]))
    prefix = draw(st.sampled_from(["", "v1=", "sha256=", "sig "]))
    separator = draw(st.sampled_from(["", ",", ";", " "])) if " " not in prefix else ""
    form = draw(st.sampled_from(["", "seconds", "milliseconds", "iso"]))
    body = draw(st.binary(max_size=60))
    secret = draw(WORDS)
    time = ""
    declaration: dict[str, object] = {
        "signature": "header.x-sig",
        "algorithm": f"hmac-{algorithm}",
        "encoding": encoding,
        "prefix": prefix,
        "separator": separator,
    }
    headers = {}
    if form:
        stamp = {"seconds": str(NOW), "milliseconds": str(NOW * 1000)}
        time = stamp.get(form) or datetime.fromtimestamp(NOW, UTC).isoformat()
        declaration |= {
            "timestamp": "header.x-time",
            "timestamp_format": form,
            "content": "{timestamp}.{body}",
        }
        headers["x-time"] = time
    content = f"{time}.".encode() + body if form else body
    digest = hmac.new(secret.encode(), content, getattr(hashlib, algorithm)).digest()
    text = digest.hex() if encoding == "hex" else base64.b64encode(digest).decode()
    others = draw(st.lists(st.sampled_from(["v0=1", "junk", "v1=00", ""]), max_size=3)) if separator else []
    items = draw(st.permutations([*others, prefix + text]))
    headers["x-sig"] = separator.join(items)
    return declaration, secret, headers, body


@given(ways_to_sign(), st.data())
@settings(deadline=None)
def test_what_is_signed_as_declared_is_verified_and_nothing_else(way, data):
    declaration, secret, headers, body = way
    hook = Hook.build("h", "custom", topic="t", secrets=["another", secret], settings={"signed": declaration})
    sent = WebhookDelivery(headers, body)
    assert hook.verify(sent, now=NOW)
    assert not hook.verify(WebhookDelivery(headers, body + b"."), now=NOW)
    other = Hook.build("h", "custom", topic="t", secrets=[secret + "."], settings={"signed": declaration})
    assert not other.verify(sent, now=NOW)
    if "timestamp" in declaration:
        assert hook.verify(sent, now=NOW + 301).reason == "too_old"
        assert hook.verify(sent, now=NOW - 301).reason == "too_new"
    changed = data.draw(st.text(max_size=30).filter(lambda text: text not in headers["x-sig"]))
    assert not hook.verify(WebhookDelivery(headers | {"x-sig": changed}, body), now=NOW)


@given(st.text(max_size=60), st.sampled_from(["seconds", "milliseconds", "iso"]))
def test_a_time_is_a_number_or_none(text, form):
    found = seconds_of(text, form)
    assert found is None or -1e11 < found < 1e16


def test_a_signature_is_among_the_first_sixteen_or_not_found():
    hook = Hook.build(
        "h",
        "custom",
        topic="t",
        secrets=["s"],
        settings={"signed": {"signature": "header.x", "separator": ","}},
    )
    right = hmac.new(b"s", b"", hashlib.sha256).hexdigest()
    for before, verified in ((15, True), (16, False)):
        assert bool(hook.verify(WebhookDelivery({"x": "0," * before + right}, b""), now=NOW)) is verified


# --- public keys

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize("written", ["pem", "der", "raw"])
@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256-sha256", "rsa-sha256", "rsa-sha1"])
def test_a_public_key_verifies_however_it_is_written(algorithm, written):
    key = {"ed25519": ED, "ecdsa-p256-sha256": EC}.get(algorithm, RSA)
    public = key.public_key()
    if written == "raw":
        if algorithm != "ed25519":
            return
        text = base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    else:
        encoding = Encoding.PEM if written == "pem" else Encoding.DER
        raw = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
        text = raw.decode() if written == "pem" else base64.b64encode(raw).decode()
    if isinstance(key, rsa.RSAPrivateKey):
        digest = hashes.SHA1() if algorithm == "rsa-sha1" else hashes.SHA256()
        signature = key.sign(b"body", padding.PKCS1v15(), digest)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        signature = key.sign(b"body", ec.ECDSA(hashes.SHA256()))
    else:
        signature = key.sign(b"body")
    signed = {"signature": "header.x", "algorithm": algorithm, "encoding": "base64"}
    hook = Hook.build("h", "custom", topic="t", public_keys=[text], settings={"signed": signed})
    headers = {"x": base64.b64encode(signature).decode()}
    assert hook.verify(WebhookDelivery(headers, b"body"), now=NOW)
    assert hook.verify(WebhookDelivery(headers, b"bodY"), now=NOW).reason == "wrong_signature"
    assert not hook.verify(WebhookDelivery({"x": "=" + headers["x"]}, b"body"), now=NOW)


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: base64.b64encode(raw).decode()))
def test_what_is_no_public_key_is_refused(text):
    for algorithm in ("ecdsa-p256-sha256", "rsa-sha256"):
        with pytest.raises(ValueError, match="a public key of"):
            public_key(text, algorithm)


def test_short_rsa_keys_and_other_curves_are_refused():
    small = rsa.generate_private_key(65537, 1024).public_key()
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    for key, algorithm in ((small, "rsa-sha256"), (other, "ecdsa-p256-sha256"), (other, "ed25519")):
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        with pytest.raises(ValueError, match="a public key of"):
            public_key(pem, algorithm)


# --- token


@given(WORDS, st.text(max_size=12))
def test_a_token_is_its_secret_and_nothing_else(secret, other):
    hook = Hook.build(
        "h",
        "custom",
        topic="t",
        secrets=[secret],
        settings={"token": {"value": "body.a", "prefix": "Bearer "}},
    )
    assert hook.verify(delivery({"a": f"Bearer {secret}"}), now=NOW)
    assert bool(hook.verify(delivery({"a": f"Bearer {other}"}), now=NOW)) is (other == secret)
    assert not hook.verify(delivery({"a": secret}), now=NOW) or secret.startswith("Bearer ")
    assert not hook.verify(delivery({"a": [f"Bearer {secret}"]}), now=NOW)


def test_each_of_several_values_has_to_be_a_token():
    hook = Hook.build("h", "custom", topic="t", secrets=["s"], settings={"token": {"value": "body.*.a"}})
    assert hook.verify(delivery([{"a": "s"}, {"a": "s"}]), now=NOW)
    for value in ([], {}, [{"a": "s"}, {}], [{"a": "s"}, {"a": "t"}], [{"a": "s"}] * 20_000):
        assert not hook.verify(delivery(value), now=NOW)


# --- places, conditions, templates

TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


def looked_up(value: object, path: list[str]) -> str | None:
    for name in path:
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int)) else None


@given(TREES, st.lists(st.sampled_from(["a", "b", "c", "0", "1"]), min_size=1, max_size=4))
def test_a_place_of_the_body_is_what_its_path_leads_to(tree, path):
    assert Source.parse("body." + ".".join(path)).read(delivery(tree)) == looked_up(tree, path)


@given(st.text(max_size=30))
def test_a_place_is_read_or_refused(text):
    try:
        source = Source.parse(text)
    except ValueError:
        return
    source.read_all(WebhookDelivery({}, b"{}", query="%ff=1" if text.startswith("body") else ""))


@given(st.text("ab*?[]!", max_size=8), st.text("ab*?[]!", max_size=8))
def test_a_condition_s_star_is_any_characters_and_nothing_else_is_special(pattern, value):
    fits = Condition.parse({"body.a": pattern}).fits(delivery({"a": value}))
    if not pattern or not value:
        assert fits is (not pattern and not value)
    else:
        plain = pattern.replace("[", "[[]").replace("?", "[?]")
        assert fits is fnmatchcase(value, plain)


def test_a_condition_takes_all_its_places_and_one_of_each_list():
    condition = Condition.parse({"body.a": ["x", "y"], "body.b": True, "query.c": 1})
    assert condition.fits(delivery({"a": "y", "b": True}, query="c=1"))
    assert not condition.fits(delivery({"a": "z", "b": True}, query="c=1"))
    assert not condition.fits(delivery({"a": "y", "b": False}, query="c=1"))
    assert not condition.fits(delivery({"a": "y", "b": True}))
    for table in ({"body.a": []}, {"body.a": {}}, {"bdy.a": "x"}):
        with pytest.raises(ValueError, match=r"."):
            Condition.parse(table)


@given(st.text(max_size=30))
def test_a_template_is_read_or_refused(text):
    try:
        template = Template.parse(text)
    except ValueError:
        return
    try:
        template.render(delivery({"a": 1}), Signing("1", [b"k"]))
    except (MissingValue, GatewayError):
        return


@given(WORDS, st.none() | WORDS)
def test_what_stands_in_brackets_is_left_out_where_its_value_is_missing(first, second):
    template = Template.parse("{body.a}[[/]][-{body.b}-]{{}}")
    value = {"a": first} | ({} if second is None else {"b": second})
    expected = first + "[/]" + ("" if second is None else f"-{second}-") + "{}"
    assert template.render(delivery(value)).decode() == expected
    with pytest.raises(MissingValue):
        template.render(delivery({}))


@given(st.dictionaries(WORDS, WORDS, max_size=5))
def test_a_form_is_the_object_of_its_fields(fields):
    body = urlencode(fields).encode()
    headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    sent = WebhookDelivery(headers, body, reads_forms=True)
    assert json.loads(sent.json_text) == fields
    assert WebhookDelivery(headers, body).json_text == body
    signed = Template.parse("{form|sorted}").render(sent).decode()
    assert signed == "".join(name + fields[name] for name in sorted(fields))


def test_a_form_field_that_comes_twice_is_a_list():
    headers = {"content-type": "application/x-www-form-urlencoded"}
    sent = WebhookDelivery(headers, b"a=1&b=2&a=3&a=4", reads_forms=True)
    assert json.loads(sent.json_text) == {"a": ["1", "3", "4"], "b": "2"}
    with pytest.raises(BadFrame):
        _ = WebhookDelivery(headers, b"a=1&" * 1001, reads_forms=True).json_text


def test_hubspot_s_url_has_some_characters_decoded_and_others_not():
    text = "https://x.test/a?q=" + quote(":/?@!$'()*,; &=%", safe="")
    rendered = Template.parse("{url|decoded}").render(delivery(url=text)).decode()
    assert rendered == "https://x.test/a?q=:/?@!$'()*,;%20%26%3D%25"


# --- challenges and answers


def rule(**declaration: object) -> ChallengeRule:
    challenge = Challenge(**declaration)  # type: ignore[arg-type]
    return ChallengeRule.build(challenge, verify_tokens=["v"])


@given(st.text(max_size=300))
def test_nothing_that_could_be_a_delivery_is_signed_for_who_has_not_signed(token):
    answer = Answer(json={"response_token": "sha256={query.crc_token|hmac-sha256-base64}"})
    question = rule(methods=("GET",), verified=False, answer=answer)
    asked = delivery(method="GET", query=urlencode({"crc_token": token}, errors="replace"))
    allowed = token.isascii() and token != "" and len(token) <= 256
    allowed = allowed and all(character.isalnum() or character in "_=-" for character in token)
    assert bool(question.verify(asked)) is allowed
    if allowed:
        body = question.answer.render(asked, [b"k"]).body
        digest = base64.b64encode(hmac.new(b"k", token.encode(), hashlib.sha256).digest()).decode()
        assert json.loads(body) == {"response_token": f"sha256={digest}"}


@given(TREES, st.text(max_size=40))
def test_an_answer_is_made_or_refused(tree, text):
    answer = AnswerTemplate.build(Answer(json={"a": ["{body.a}", 1, None]}, headers={"x-echo": "{query.q}"}))
    asked = delivery({"a": tree}, query=urlencode({"q": text}, errors="replace"))
    try:
        made = answer.render(asked, [])
    except BadAnswer:
        return
    assert json.loads(made.body)["a"][1:] == [1, None]
    assert "\n" not in made.headers["x-echo"]
    assert "\r" not in made.headers["x-echo"]


def test_an_answer_is_bounded():
    answer = AnswerTemplate.build(Answer(text="{body.a}"))
    with pytest.raises(BadAnswer, match="bytes"):
        answer.render(delivery({"a": "x" * 20_000}), [])


@pytest.mark.parametrize(
    "declaration",
    [
        {"confirm": "body.a", "confirm_urls": []},
        {"confirm": "body.a", "confirm_urls": ["https://a.test/*"], "verified": False},
        {"answer": Answer(when={"body.a": "x"})},
    ],
)
def test_a_challenge_that_can_t_be_safe_is_refused(declaration):
    with pytest.raises(ValueError, match="challenge"):
        rule(**declaration)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"require": [{}]}, "require: an empty table"),
        ({"ignore": [{"body.a": 1}, {}]}, "ignore: an empty table"),
        ({"public_url": "https://shop.test/hook?code=1"}, "without query"),
        ({"public_url": "https://shop.test/hook#a"}, "without query"),
    ],
)
def test_a_setting_that_means_something_else_than_it_says_is_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        Hook.build("h", "github", secrets=["s"], settings=settings)


# --- URLs that may be fetched

PATTERNS = UrlPatterns.parse(["https://sns.*.amazonaws.com/SimpleNotificationService-*.pem"])


@given(
    st.text("abc.-/@:#?*%\\[] \n1", max_size=20),
    st.sampled_from(
        ["https://{}sns.eu.amazonaws.com/SimpleNotificationService-1.pem",
         "https://sns{}.amazonaws.com/SimpleNotificationService-1.pem",
         "https://sns.eu.amazonaws.com{}/SimpleNotificationService-1.pem",
         "https://sns.eu.amazonaws.com/{}", "{}", "https://sns.{}.amazonaws.com/SimpleNotificationService-1.pem"]
    ),
)  # fmt: skip
def test_an_allowed_url_is_the_sender_s_however_it_is_read(text, shape):
    url = shape.format(text)
    if PATTERNS.allow(url):
        parts = urlsplit(url)
        assert parts.scheme == "https"
        assert (parts.username, parts.port) == (None, None)
        labels = (parts.hostname or "").split(".")
        assert (labels[0], labels[2:]) == ("sns", ["amazonaws", "com"])
        assert "/" in parts.path


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("sns.eu-west-1", True), ("sns.a.b", False), ("sns.", False), ("xsns.eu", False), ("sns", False)],
)
def test_a_star_is_a_part_of_one_label(host, allowed):
    url = f"https://{host}.amazonaws.com/SimpleNotificationService-1.pem"
    assert PATTERNS.allow(url) is allowed
    assert not PATTERNS.allow(url.replace(".pem", ".pem/"))


@pytest.mark.parametrize(
    "pattern",
    [
        "http://a.test/",
        "https://*.com/",
        "https://a.*/",
        "https://*/",
        "https://a.test",
        "https://a.test:1/",
        "x",
    ],
)
def test_a_pattern_of_anybody_s_hosts_is_refused(pattern):
    with pytest.raises(ValueError, match="a URL that may be fetched"):
        UrlPatterns.parse([pattern])


# --- bodies


@given(st.binary(max_size=2_000), st.integers(0, 2_000))
def test_a_gzip_body_is_unpacked_within_its_bound(content, limit):
    packed = gzip.compress(content)
    if len(content) > limit:
        with pytest.raises(TooLarge):
            unpacked(packed, limit=limit)
    else:
        assert unpacked(packed, limit=limit) == content


@given(st.binary(max_size=300), st.binary(min_size=1, max_size=20))
def test_what_is_no_whole_gzip_is_refused(content, more):
    packed = gzip.compress(content)
    for broken in (content[:50], packed[:-1], packed + more):
        if broken[:2] == b"\x1f\x8b" and broken == packed:
            continue
        with pytest.raises((BadFrame, TooLarge)):
            unpacked(broken, limit=10_000)


# --- declarations


@given(
    st.dictionaries(
        st.sampled_from(
            ["signed", "token", "challenges", "answer", "id", "form", "ignore", "tolerance", "x"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["signature", "value", "answer", "when", "a"]), inner, max_size=3
                )
            ),
            max_leaves=8,
        ),
    )
)
def test_any_settings_make_a_hook_or_a_clear_error(table):
    problem = "hook 'h': "
    try:
        Hook.build("h", "custom", topic="t", secrets=["s"], settings=table)
    except ValueError as exc:
        problem = str(exc)
    assert problem.startswith("hook 'h': ")


def test_tables_are_merged_key_by_key_and_everything_else_is_replaced():
    preset = {"signed": {"signature": "header.a", "when": {"body.a": "1"}}, "headers": ["a"], "id": "x"}
    own = {"signed": {"when": {"body.b": "2"}}, "headers": ["b"]}
    assert merged(preset, own) == {
        "signed": {"signature": "header.a", "when": {"body.b": "2"}},
        "headers": ["b"],
        "id": "x",
    }


def test_an_unknown_key_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"signed: .*`colour`"):
        declared({"signed": {"signature": "header.a", "colour": "red"}})
