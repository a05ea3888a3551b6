"""Who may ask for a page: each kind of visitor has the scope that their pages take."""

from typing import Annotated

from ledger.domain.access import Scope
from ledger.web.security.scopes import Visit, requires, requires_one_of

SomebodyKnown = Annotated[Visit, requires_one_of(*Scope)]
Reader = Annotated[Visit, requires(Scope.READ)]
Filer = Annotated[Visit, requires(Scope.READ, Scope.FILE)]
"""What is filed from a page was previewed, and previews name classes."""
Decider = Annotated[Visit, requires(Scope.READ, Scope.DECIDE)]
"""Whoever decides is shown what about, and what became of it."""
Witness = Annotated[Visit, requires_one_of(Scope.READ, Scope.AUDIT)]
Operator = Annotated[Visit, requires(Scope.READ, Scope.OPERATE)]
"""Whoever rolls back or certifies is shown first what that does, with class names."""
Auditor = Annotated[Visit, requires(Scope.AUDIT)]
Administrator = Annotated[Visit, requires(Scope.ADMIN)]
