from typing import Any

from django.db.models import Lookup


class AnyOf(Lookup):
    """`uid__any_of=[...]`: as `in`, with one parameter however many values there are.

    A list of thousands takes longer to be written and parsed than its rows to be found.
    """

    lookup_name = "any_of"

    def get_prep_lookup(self) -> list[str]:
        return list(set(self.rhs))

    def get_db_prep_lookup(self, value: Any, connection: Any) -> Any:
        return "%s", [value]

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, of_column = self.process_lhs(compiler, connection)
        values, of_values = self.process_rhs(compiler, connection)
        return f"{column} = ANY({values})", (*of_column, *of_values)
