/**
 * How far does a class go?  Pictures ranked by likeness are looked at a page at a time: pages
 * further and further down while all of a page belong, halfway back when some do not, until
 * the border lies between two neighbouring pages.
 *
 * n pictures need about 2 log2(n / page) answers.  What lies between two pages that belong was
 * never on the screen: it is said how many those are.
 */

export interface Border {
  total: number;
  page: number; // pictures on one
  sure: number; // so many from the top belong
  beyond: number | null; // a page that begins here does not belong whole
  step: number; // pages to go on by while no end is known
  at: number; // where the page in view begins
  looked: readonly number[]; // beginnings of the pages of which all belong
  answers: number;
}

export function begun(total: number, page: number): Border {
  return { total, page, sure: 0, beyond: null, step: 1, at: 0, looked: [], answers: 0 };
}

/** The pictures on the page in view, as a range. */
export function inView(border: Border): [number, number] {
  return [border.at, Math.min(border.total, border.at + border.page)];
}

/** Whether the border is known: nothing is left between what belongs and what does not. */
export function isFound(border: Border): boolean {
  return border.sure >= (border.beyond ?? border.total);
}

export function answered(border: Border, all: boolean): Border {
  const [from, to] = inView(border);
  const next: Border = { ...border, answers: border.answers + 1 };
  if (all) {
    next.sure = Math.max(border.sure, to);
    next.looked = [...border.looked, from];
  } else next.beyond = from;
  return { ...next, ...(isFound(next) ? {} : placed(next)) };
}

function placed({ total, page, sure, beyond, step }: Border): Pick<Border, "at" | "step"> {
  const last = Math.max(0, Math.ceil(total / page) - 1);
  const first = Math.ceil(sure / page); // the next page that is not known
  if (beyond === null) {
    return { at: Math.min(last, first + step - 1) * page, step: step * 2 };
  }
  const end = Math.floor(beyond / page) - 1;
  return { at: Math.floor((first + end) / 2) * page, step };
}

/** The pictures that belong and those of them that were on a page, as positions. */
export function result(border: Border): { labelled: number; shown: number[] } {
  const shown = border.looked.flatMap((from) => {
    const to = Math.min(border.total, from + border.page);
    return Array.from({ length: to - from }, (_, i) => from + i);
  });
  return { labelled: border.sure, shown };
}
