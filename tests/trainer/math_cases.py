r"""Answers in mathematics that must not pass, and right ones that must.

Of the first Math-Verify 0.9.0 as it comes accepts most, of the second it rejects some;
`make bench-verify` counts them.
"""

from dataclasses import dataclass

from trainer.verifiers import Item


@dataclass(frozen=True)
class Case:
    name: str
    reference: str
    response: str
    problem: str = ""

    @property
    def item(self) -> Item:
        return Item(self.problem, self.response, (self.reference,))


def _boxed(name: str, reference: str, answer: str, problem: str = "") -> Case:
    return Case(name, reference, rf"So it is $\boxed{{{answer}}}$.", problem)


MUST_NOT_PASS = [
    _boxed("tiny-factorials", "1/2004!", "1/2006!"),
    _boxed("tiny-powers", "2^{-99}", "2^{-98}"),
    _boxed("tiny-decimals", "0.0000001", "0.0000002"),
    _boxed("half-of-day", r"11:00\text{ PM}", r"11:00\text{ AM}"),
    _boxed("other-unit", r"5\text{ cm}", r"5\text{ kg}"),
    _boxed("other-unit-in-words", r"5\text{ square meters}", r"5\text{ cubic meters}"),
    Case("other-unit-after", r"5\text{ cm}", "The answer is 5 kg."),
    _boxed("ellipsis", r"1,2,\ldots,n", r"1,3,5,\ldots,2n-1"),
    _boxed("percent", "50", r"50\%", "How many of the 100 marbles are red?"),
    _boxed("no-percent", r"50\%", "50"),
    _boxed("percent-elsewhere", "50", r"50\%", "He saves 10%. How many dollars are left?"),
    _boxed("sum", "7", "3+4"),
    _boxed("sigma", "6", r"\sum_{k=1}^3 k"),
    _boxed("product", "12", r"3 \cdot 4"),
    _boxed("power", "1024", "2^{10}"),
    _boxed("restated", "3", r"\text{the value of } x \text{ in } x=3"),
    Case("enumeration", "12", "It could be 10, 11, 12"),
    Case("enumeration-with-or", "12", "It could be 10, 11 or 12."),
    Case("enumerated-answer", "10", "The answer is 10, 11 or 12."),
    Case("only-thought", "12", r"<think>\boxed{12}</think> I do not know"),
    Case("still-thinking", "12", r"<think>So it is \boxed{12}. But wait"),
    Case("thinking-not-opened", "12", r"So it is \boxed{12}. </think> I do not know"),
    _boxed("hedge-first", "10", r"10}$ or $\boxed{11"),
    _boxed("hedge-last", "11", r"10}$ or $\boxed{11"),
    _boxed("hedge-in-one-box", "11", r"10 \text{ or } 11"),
    _boxed("everything", "11", r"(-\infty, \infty)"),
    _boxed("large", "10^{20}", "10^{20}+1"),
    _boxed("part-of-the-reference", r"2\sqrt{3}", "2"),
]

MUST_PASS = [
    _boxed("inequality-for-interval", r"(-\infty,3)", "x<3"),
    _boxed("interval-for-inequality", "x<3", r"(-\infty,3)"),
    _boxed("root-sign", r"2\sqrt{2}", "2√2"),
    _boxed("root-of-brackets", r"\sqrt{x+1}", "√(x+1)"),
    _boxed("no-solution", r"\emptyset", r"\text{no solution}"),
    _boxed("no-real-solutions", r"\text{no solution}", r"\text{No real solutions.}"),
    Case("earlier-final-answer", "12", r"The final answer is $11$. No: it is $\boxed{12}$."),
    Case("same-box-in-other-places", "12", rf"\boxed{{12}} {'so ' * 40} \boxed{{12}}"),
    _boxed("dollars", "18", r"\$18"),
    _boxed("minus-sign", "-3", "\N{MINUS SIGN}3"),
    _boxed("percent-asked-for", "20", r"20\%", "There are 5. What percentage is red?"),
    _boxed("percent-in-value", "0.5", r"50\%"),
    Case("escaped-twice", "12", r"So it is \\boxed{12}."),
    _boxed(
        "labelled", "40", r"\text{Volume of the locker} = 20 \times 2 = 40 \text{ cubic inches}"
    ),
    _boxed("mixed-number", "3/2", r"1\frac{1}{2}"),
    _boxed("power-of-ten", "300000", r"3 \times 10^5"),
    _boxed("unit-left-out", r"5\text{ cm}^2", "5"),
    _boxed("unit-spelt-out", r"5\text{ cm}", r"5\text{ centimeters}"),
    _boxed("equation-for-number", "3", "x = 3"),
    _boxed("parts-in-boxes", "1,2", r"1}$ and $\boxed{2"),
]
