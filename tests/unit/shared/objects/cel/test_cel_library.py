"""Kubernetes' functions, each with what its documentation promises."""

from __future__ import annotations

from typing import Any

import pytest

from shared.objects import cel
from shared.objects.cel.library.authorization import AUTHORIZER, Authorizer, Question, Verdict
from shared.objects.cel.types import DYN


def evaluate(expression: str, **bindings: Any) -> Any:
    return cel.compile(expression, dict.fromkeys(bindings, DYN)).evaluate(bindings)


@pytest.mark.parametrize(
    "expression",
    [
        "[1, 2, 3].isSorted() && !['b', 'a'].isSorted()",
        "[1, 2, 3].sum() == 6 && [1.5, 1.5].sum() == 3.0 && [duration('1s'), duration('2s')].sum() == duration('3s')",
        "[3, 1].min() == 1 && ['a', 'c'].max() == 'c'",
        "[1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && [1].indexOf(9) == -1",
        "[3, 1, 2].sort() == [1, 2, 3] && [1, 1, 2].distinct() == [1, 2] && [1, 2].reverse() == [2, 1]",
        "[[1], [2, 3]].flatten() == [1, 2, 3] && [1, 2, 3].slice(1, 3) == [2, 3] && lists.range(3) == [0, 1, 2]",
        "[{'n': 2}, {'n': 1}].sortBy(e, e.n) == [{'n': 1}, {'n': 2}]",
        "[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && ![].first().hasValue()",
        "'abc 123 de45'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == ''",
        "'123 abc 456'.findAll('[0-9]+') == ['123', '456'] && '1 2 3'.findAll('[0-9]', 2) == ['1', '2']",
        "url('https://example.com:80/path?k=a&k=b').getHost() == 'example.com:80'",
        "url('https://example.com:80/').getHostname() == 'example.com' && url('https://[::1]:80/').getPort() == '80'",
        "url('https://[::1]:80/').getHostname() == '::1' && url('https://example.com/').getScheme() == 'https'",
        "url('https://example.com/with space'.replace(' ', '%20')).getEscapedPath() == '/with%20space'",
        "url('https://example.com/?k=a&k=b').getQuery() == {'k': ['a', 'b']}",
        "isURL('https://example.com/') && isURL('/path') && !isURL('../relative') && !isURL('https://a b/')",
        "quantity('1.5Gi').isGreaterThan(quantity('1G')) && quantity('1000m') == quantity('1')",
        "quantity('50k').asInteger() == 50000 && quantity('50').add(20) == quantity('70')",
        "quantity('1').sub(quantity('500m')).compareTo(quantity('0.5')) == 0 && quantity('-1').sign() == -1",
        "quantity('1500m').asApproximateFloat() == 1.5 && !quantity('1500m').isInteger()",
        "isQuantity('1.3Gi') && !isQuantity('1,3Gi')",
        "quantity('1').isLessThan(quantity('2'))",
        "ip('127.0.0.1').isLoopback() && ip('::1').family() == 6 && ip('10.0.0.1').isGlobalUnicast()",
        "ip('0.0.0.0').isUnspecified() && ip('224.0.0.1').isLinkLocalMulticast() && ip('fe80::1').isLinkLocalUnicast()",
        "isIP('10.0.0.1') && !isIP('10.0.0.01') && !isIP('::ffff:10.0.0.1')",
        "ip.isCanonical('::1') && !ip.isCanonical('0:0::1') && string(ip('10.0.0.1')) == '10.0.0.1'",
        "cidr('192.168.0.0/24').containsIP(ip('192.168.0.1')) && cidr('10.0.0.0/8').containsIP('10.1.1.1')",
        "cidr('192.168.0.0/16').containsCIDR('192.168.10.0/24')",
        "!cidr('10.0.0.0/8').containsCIDR(cidr('10.0.0.0/7'))",
        "cidr('192.168.0.5/24').masked() == cidr('192.168.0.0/24') && cidr('10.0.0.0/8').prefixLength() == 8",
        "cidr('192.168.0.5/24').ip() == ip('192.168.0.5') && isCIDR('::/64') && !isCIDR('10.0.0.0/33')",
        "string(cidr('10.0.0.0/8')) == '10.0.0.0/8'",
        "!format.dns1123Label().validate('my-name').hasValue() && format.dns1123Label().validate('No').hasValue()",
        "format.named('uuid').value().validate('not').hasValue() && !format.named('nothing').hasValue()",
        "!format.date().validate('2024-02-29').hasValue() && format.date().validate('2023-02-29').hasValue()",
        "!format.datetime().validate('2024-02-29T00:00:00Z').hasValue() && !format.byte().validate('aGk=').hasValue()",
        "!format.uri().validate('https://a/').hasValue() && !format.labelValue().validate('a_b').hasValue()",
        "!format.dns1123SubdomainPrefix().validate('a.b-').hasValue()",
        "!format.qualifiedName().validate('a/b').hasValue() && !format.dns1035Label().validate('a1').hasValue()",
        "sets.contains([1, 2, 3], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && !sets.intersects([1], [2])",
        "semver('1.2.3').major() == 1 && semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))",
        "semver('1.10.0').isGreaterThan(semver('1.9.9')) && semver('1.0.0').compareTo(semver('1.0.0+build')) == 0",
        "isSemver('1.2.3') && !isSemver('v1.2') && isSemver('v1.2', true) && semver('v1.2', true).minor() == 2",
        "semver('1.0.0-alpha.2').isLessThan(semver('1.0.0-alpha.10')) && semver('1.2.3').patch() == 3",
        "optional.ofNonZeroValue('').hasValue() == false && optional.ofNonZeroValue(1).value() == 1",
        "optional.none().or(optional.of(2)).value() == 2 && [optional.of(1), optional.none()].unwrapOpt() == [1]",
        "optional.of({'a': 1}).optFlatMap(m, m[?'a']).value() == 1",
        "math.greatest([1, 5, 2]) == 5 && math.least(1.5, 2) == 1.5 && math.isNaN(0.0 / 0.0)",
        "'a'.format([]) == 'a' && '%b %o %X'.format([5, 8, 255]) == '101 10 FF'",
    ],
)
def test_a_function_does_what_is_documented(expression: str) -> None:
    assert evaluate(expression) is True


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("[].min()", "min called on empty list"),
        ("quantity('x')", "quantities must match the regular expression"),
        ("quantity('1500m').asInteger()", "cannot convert value to integer"),
        ("ip('300.0.0.1')", "IP Address"),
        ("ip('::ffff:1.2.3.4')", "IPv4-mapped IPv6 address"),
        ("cidr('10.0.0.0')", "network address parse error"),
        ("url('a b')", "URL parse error"),
        ("semver('1')", "invalid semver version"),
        ("'abc'.substring(5)", "index out of range: 5"),
        ("dyn([1, 'a']).sum()", "no such overload"),
        ("[1].slice(0, 2)", "list is length 1"),
    ],
)
def test_a_function_refuses_what_it_cannot_take(expression: str, message: str) -> None:
    with pytest.raises(cel.EvaluationError, match=message):
        evaluate(expression)


def test_a_quantity_is_no_string() -> None:
    with pytest.raises(cel.CompilationError, match="found no matching overload"):
        cel.compile("quantity('1') == '1'", {})


def test_the_authorizer_asks_the_server() -> None:
    asked: list[Question] = []

    def decide(question: Question) -> Verdict:
        asked.append(question)
        return Verdict(question.verb == "get", "because")

    expression = (
        "authorizer.serviceAccount('ns', 'sa').group('apps').resource('deployments').subresource('scale')"
        ".namespace('n').name('x').check('get').allowed() && !authorizer.path('/healthz').check('post').allowed()"
    )
    program = cel.compile(expression, {"authorizer": AUTHORIZER})
    assert program.evaluate({"authorizer": Authorizer(decide)}) is True
    resource, path = asked
    assert resource == Question("apps", "deployments", "scale", "n", "x", "get", user="system:serviceaccount:ns:sa")
    assert (path.path, path.verb) == ("/healthz", "post")
