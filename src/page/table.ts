/** Tables whose cells change in place: what is the same stays as it is, for who reads, selects or has it read out. */

export interface Column {
  readonly title: string;
  /** Text is at the left, figures at the right. */
  readonly text?: boolean;
}

export interface Row {
  readonly cells: readonly string[];
  /** It stands above those that follow. */
  readonly head?: boolean;
  readonly bad?: boolean;
}

export class Table {
  readonly #columns: readonly Column[];
  readonly #body: HTMLTableSectionElement;
  readonly #empty: string;

  /** `caption`: for who does not see what it is below; `empty`: what is said instead of no row. */
  constructor(parent: HTMLElement, caption: string, columns: readonly Column[], empty: string) {
    this.#columns = columns;
    this.#empty = empty;
    const table = document.createElement('table');
    table.ariaLabel = caption;
    const head = table.createTHead().insertRow();
    for (const { title, text } of columns) {
      const cell = document.createElement('th');
      cell.scope = 'col';
      cell.textContent = title;
      cell.className = text ? 'text' : '';
      head.append(cell);
    }
    this.#body = table.createTBody();
    parent.append(table);
    this.show([]);
  }

  show(rows: readonly Row[]): void {
    const all = rows.length > 0 ? rows : [{ cells: [this.#empty] }];
    for (const [i, row] of all.entries()) this.#fill(this.#body.rows[i] ?? this.#add(), row);
    while (this.#body.rows.length > all.length) this.#body.deleteRow(-1);
  }

  #add(): HTMLTableRowElement {
    const row = this.#body.insertRow();
    for (const [i, { text }] of this.#columns.entries()) {
      const cell = document.createElement(i === 0 ? 'th' : 'td');
      if (i === 0) cell.scope = 'row';
      if (text) cell.className = 'text';
      row.append(cell);
    }
    return row;
  }

  #fill(row: HTMLTableRowElement, { cells, head, bad }: Row): void {
    const name = [head && 'head', bad && 'bad'].filter(Boolean).join(' ');
    if (row.className !== name) row.className = name;
    for (const [i, cell] of [...row.cells].entries()) {
      const text = cells[i] ?? '';
      if (cell.textContent !== text) cell.textContent = text;
    }
  }
}
