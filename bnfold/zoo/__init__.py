"""Small networks with BatchNormalization, one a file, and what training and export need to know of each.

    network.py       what is known of a network before it is built
    catalogue.py     all networks, with their data and how they are trained
    NAME.py          each network
    tasks.py         what a network learns, and how it is judged
    preparing.py     data derived from other data: with noise, as points, in pairs
    data/            the data

A network is a module ``bnfold/zoo/NAME.py`` with a function ``build()``, and an entry in the catalogue. ``build()``
takes ``shape`` and ``classes`` where the network adapts to its data, and ``placement`` where its BatchNorms can stand
in several places. Nothing here imports torch until a network is built.
"""

from __future__ import annotations

from bnfold.errors import BnfoldError
from bnfold.zoo import data
from bnfold.zoo.catalogue import NETWORKS
from bnfold.zoo.network import Network

__all__ = ["NETWORKS", "Network", "data", "find"]


def find(name: str) -> Network:
    """The network of that name.

    Raises:
        BnfoldError: The zoo has none; the message lists those it has.
    """
    if name not in NETWORKS:
        raise BnfoldError(f"no network named {name!r} in the zoo; it has: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name]
