// TypeScript types of the resources, printed by `perennial types --ts`. Print them again when the settings change.

/** A record of authors, at /authors. */
export interface Authors {
  id: string;
  name: string;
  /** With `_meta=true`. */
  _created?: string;
  _changed?: string;
  _revision?: number;
}

/** A new record of authors, at /authors. */
export interface NewAuthors {
  id: string;
  name: string;
}

/** Changes of a record of authors, at /authors. */
export interface AuthorsPatch {
  id?: string;
  name?: string;
}

/** A record of books, at /books. */
export interface Books {
  id: number | string;
  title: string;
  year?: number | null;
  price?: number | null;
  sold: boolean;
  printed?: string | null;
  read_at?: string | null;
  readonly token?: string | null;
  kind?: "novel" | "essay" | null;
  authorId?: string | null;
  tags?: Array<string> | null;
  press?: {
    name: string;
    "town-hall"?: string | null;
  } | null;
  readonly made_at?: string | null;
  /** With `_meta=true`. */
  _created?: string;
  _changed?: string;
  _revision?: number;
}

/** A new record of books, at /books. */
export interface NewBooks {
  id?: number | string | null;
  title: string;
  year?: number | null;
  price?: number | null;
  sold?: boolean;
  printed?: string | null;
  read_at?: string | null;
  kind?: "novel" | "essay" | null;
  authorId?: string | null;
  tags?: Array<string> | null;
  press?: {
    name: string;
    "town-hall"?: string | null;
  } | null;
}

/** Changes of a record of books, at /books. */
export interface BooksPatch {
  id?: number | string;
  title?: string;
  year?: number | null;
  price?: number | null;
  sold?: boolean;
  printed?: string | null;
  read_at?: string | null;
  kind?: "novel" | "essay" | null;
  authorId?: string | null;
  tags?: Array<string> | null;
  press?: {
    name?: string;
    "town-hall"?: string | null;
  } | null;
}

/** A record of movies, at /api/films. */
export interface Movies {
  id: string;
  [member: string]: unknown;
  /** With `_meta=true`. */
  _created?: string;
  _changed?: string;
  _revision?: number;
}

/** A new record of movies, at /api/films. */
export interface NewMovies {
  id?: string | null;
  [member: string]: unknown;
}

/** Changes of a record of movies, at /api/films. */
export interface MoviesPatch {
  id?: string;
  [member: string]: unknown;
}

/** A record of order-items, at /order-items. */
export interface OrderItems {
  id: string;
  count?: number | null;
  [member: string]: unknown;
  /** With `_meta=true`. */
  _created?: string;
  _changed?: string;
  _revision?: number;
}

/** A new record of order-items, at /order-items. */
export interface NewOrderItems {
  id?: string | null;
  count?: number | null;
  [member: string]: unknown;
}

/** Changes of a record of order-items, at /order-items. */
export interface OrderItemsPatch {
  id?: string;
  count?: number | null;
  [member: string]: unknown;
}

/** The types of each resource, by its name. */
export interface Resources {
  authors: { record: Authors; create: NewAuthors; patch: AuthorsPatch };
  books: { record: Books; create: NewBooks; patch: BooksPatch };
  movies: { record: Movies; create: NewMovies; patch: MoviesPatch };
  "order-items": { record: OrderItems; create: NewOrderItems; patch: OrderItemsPatch };
}
