"""The tree of HTTP resources: which address belongs to which API. Each API is a module of its own and a resource here.

It is a leaf to Twisted, since the App Services API wants the whole path, and looks at no more than the path.
"""

from collections.abc import Mapping
from typing import Any

from twisted.web.resource import IResource, Resource


def make_site_tree(api: IResource, single: Mapping[str, IResource]) -> IResource:
    """The root of a site: the resources in ``single`` at ``/<name>`` and ``/<name>/``, everything else is ``api``'s."""
    return _Tree(api, {name.encode(): resource for name, resource in single.items()})


class _Tree(Resource):
    isLeaf = True

    def __init__(self, api: IResource, single: Mapping[bytes, IResource]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._api = api
        self._single = single

    def render(self, request: Any) -> int | bytes:
        first, *rest = request.postpath or [b""]
        resource = self._single.get(first, self._api) if rest in ([], [b""]) else self._api
        answer: int | bytes = resource.render(request)  # type: ignore[no-untyped-call]
        return answer
