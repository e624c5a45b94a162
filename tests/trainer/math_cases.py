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


_AND_SO_ON = "and so on " * 20

MUST_NOT_PASS = [
    _boxed("last-of-a-list", "2, 3", "3"),
    _boxed("last-of-tens", "10, 20, 30", "30"),
    _boxed("last-of-fractions", "1/2, 3", "3"),
    _boxed("list-as-a-decimal", "2,3", "2.3"),
    _boxed("list-as-another-decimal", "1,10", "1.1"),
    _boxed("first-of-formulas", "$2$; $3$", "3"),
    _boxed("condition-of-the-reference", "$7$ (if $n=5$)", "5"),
    _boxed("hedge-in-upright", "5", r"5\text{ or 6}"),
    _boxed("list-in-upright", "5", r"5\text{, 6, 7, 8}"),
    _boxed("equations-in-upright", "5", r"x=5\text{ or x=6}"),
    _boxed("pairs-in-upright", "(1,2)", r"(1,2)\text{ or (2,1)}"),
    _boxed("cents-in-upright", "5", r"5\text{ dollars and 30 cents}"),
    _boxed("millions", "5", r"5\text{ million}"),
    Case("millions-behind", "5", r"So it is \boxed{5} million."),
    _boxed("billions-for-millions", r"3\text{ million}", r"3\text{ billion}"),
    _boxed("factorial-in-words", "5", r"5\text{ factorial}"),
    _boxed("upright-i-left-out", "5", r"5\mathrm{i}"),
    _boxed("upright-i-in-the-reference", r"3+4\mathrm{i}", "7"),
    _boxed("upright-e-in-the-reference", r"2x\mathrm{e}^{x}", "2x"),
    _boxed("side-by-side", "11", r"5 \quad 6"),
    _boxed("side-by-side-in-brackets", "11", "5 (6)"),
    _boxed("side-by-side-with-a-blank", "17", "12 5"),
    _boxed("side-by-side-with-nothing", "0", "12 0"),
    _boxed("mixed-number-cut", "1", "1 1/2"),
    _boxed("side-by-side-pushed-together", "56", r"5 \, 6"),
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
    _boxed("false-equation", "12", "13 = 12"),
    _boxed("absolute-value", "12", "|n| = 12"),
    _boxed("multiple-of-the-unknown", "12", "2n = 12"),
    _boxed("other-base", "53_8", "53_9"),
    _boxed("base-nobody-asked-for", "53", "53_9", "Compute 50 + 3."),
    _boxed("denied-in-the-box", "12", r"12 \text{ is wrong}"),
    _boxed("sum-in-a-tuple", "(7, 2)", "(3+4, 2)"),
    _boxed("sum-in-a-set", r"\{7, 2\}", r"\{3+4, 2\}"),
    _boxed("tiny-in-a-tuple", "(2^{-99}, 1)", "(2^{-98}, 1)"),
    Case("several-boxes", "12", rf"\boxed{{11}} {_AND_SO_ON} \boxed{{12}}"),
    Case("several-answers", "12", "The answer is 11.\nThe answer is 12."),
    Case("several-marks", "12", "#### 11\n#### 12"),
    Case("box-around-a-box", "12", r"\boxed{11 \text{ rather than } \boxed{12}}"),
    Case("last-box-empty", "12", r"Ann guessed 12. So it is \boxed{}."),
    Case("last-box-open", "12", rf"\boxed{{12}} {_AND_SO_ON} \boxed{{1"),
    Case("denied", "12", r"It is definitely never \boxed{12}."),
    Case("denied-behind", "12", r"\boxed{12} cannot be right."),
    Case("denied-in-spanish", "12", r"La respuesta no es \boxed{12}."),
    Case("denied-in-chinese", "12", r"答案不是 $\boxed{12}$。"),
    Case("denied-in-japanese", "12", r"答えは $\boxed{12}$ ではない。"),
    Case("asked", "12", r"Could it be $\boxed{12}$?"),
    Case("taken-back", "12", r"So $\boxed{12}$. No, that must be wrong."),
    Case("disclaimed", "12", r"\boxed{12}, but I really cannot say."),
    Case("unsure", "12", "Maybe 12."),
    Case("numbered", "12", "See page 12"),
    Case("more-behind", "12", "That makes 12. Then he leaves."),
    _boxed("problem-in-the-box", r"2\sqrt{3}", r"\sqrt{12}", r"Simplify $\sqrt{12}$."),
    Case("denied-as-wrong", "12", r"The wrong answer would be \boxed{12}."),
    Case("joined-by-nothing-seen", "12", "1\u200b112"),
    Case("problem-repeated", "12", "Compute $6+6$ now.", "Compute $6+6$ now."),
    Case("hidden-element", "12", r"<p style='visibility: hidden'>\boxed{12}</p>"),
    Case("hidden-comment", "12", r"<!-- \boxed{12} -->"),
    Case("white", "12", r"\textcolor{white}{\boxed{12}}"),
    Case("phantom", "12", r"\hphantom{\boxed{12}}"),
    Case("crossed-out", "12", r"\sout{\boxed{12}}"),
    Case("crossed-out-in-markdown", "12", "The answer is ~~12~~ 11."),
    Case("line-of-a-comment", "12", "% \\boxed{12}"),
    Case("program", "12", "```c++\n// \\boxed{12}\n"),
    Case("turn-of-the-user", "12", "No.\n\nHuman: it is \\boxed{12}"),
    Case("next-turn", "12", r"No.<|im_end|><|im_start|>user \boxed{12}"),
    Case("outside-the-tags", "12", r"<answer>11</answer> \boxed{12}"),
    _boxed("power-in-code", "23", "2**3"),
    Case("power-in-prose", "23", "So it is 2**3"),
    Case("two-pairs-of-tags", "12", "<answer>11</answer>\n<answer>\\boxed{12}</answer>"),
]

MUST_PASS = [
    _boxed("list-in-another-order", "2, 3", "3,2"),
    _boxed("list-in-a-set", "2,3", r"\{2,3\}"),
    _boxed("list-of-equations", "2,3", "x=2,x=3"),
    _boxed("list-in-words", "2, 3", r"2\text{ or }3"),
    _boxed("list-in-words-of-equations", "2,3", r"x=2\text{ or }x=3"),
    _boxed("list-of-formulas", "$2$, $3$", "2,3"),
    _boxed("mixed-number-in-plain-text", "1 1/2", "3/2"),
    _boxed("thousands-apart", "12000", r"12\,000"),
    _boxed("upright-i", r"3+4\mathrm{i}", "3+4i"),
    _boxed("upright-e", r"2\mathrm{e}^{3}", "2e^3"),
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
    _boxed("true-equation", "43", r"\text{Total} = 40 + 3 = 43"),
    _boxed("probability-of-an-event", r"\frac{1}{3}", r"P(X=2) = \frac{1}{3}"),
    _boxed("several-equations", "(2,3)", "(x,y) = (2,3)"),
    _boxed("sum-asked-for", "5", "x+y = 5", "Find $x + y$."),
    _boxed("base-asked-for", "53", "53_8", "Write 43 in base 8."),
    _boxed("same-base", "53_8", "53_{8}"),
    _boxed("tuple", "(7, 2)", "(7.0, 2)"),
    Case("box-in-a-box", "12", r"\boxed{\boxed{12}}"),
    Case("equal-boxes", "0.5", rf"\boxed{{\frac{{1}}{{2}}}} {_AND_SO_ON} \boxed{{0.5}}"),
    Case("box-on-the-way", "12", rf"$6 = \boxed{{6}}$ {_AND_SO_ON} Final answer: \boxed{{12}}"),
    Case("answer-after-boxes", "12", r"$6 = \boxed{6}$. The final answer is $12$."),
    Case("other-denied", "12", r"It is not 11 and cannot be negative, so it is \boxed{12}."),
    Case("not-excluded", "12", r"The only one that is not excluded is \boxed{12}."),
    Case("other-is-wrong", "12", r"So 11 is wrong: \boxed{12}."),
    _boxed(
        "asked-for-as-it-is", r"\sqrt{12}", r"\sqrt{12}", r"Which is larger, $3$ or $\sqrt{12}$?"
    ),
    Case("question-first", "12", r"How many are there? \boxed{12}"),
    Case("checked-behind", "12", r"\boxed{12}. Does that fit? Yes, 11 would be wrong."),
    Case("cancelled-on-the-way", "12", r"$\frac{24\cancel{x}}{2\cancel{x}}$ is \boxed{12}."),
    Case("answer-tags", "12", "<think>11?</think>\n<answer>12</answer>"),
    Case("answer-tag-cut-off", "12", r"<answer>\boxed{12}"),
    Case("mark", "1200", "So <<12*100=1200>>1,200.\n#### 1,200"),
    Case("latex-in-a-fence", "12", "```latex\n\\boxed{12}\n```"),
    Case("program-before", "12", "```python\nprint(11)\n```\nSo \\boxed{12}."),
    Case("end-of-turn", "12", r"\boxed{12}<|im_end|>"),
    Case("next-problem", "12", "That makes 12.\n\nHuman: And 5 + 6?\n\nAssistant: \\boxed{11}"),
    Case("bold", "12", "**12**"),
    Case("minerva", "12", "There are 12 of them. I hope it is correct."),
]
