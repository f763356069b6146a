// The interface of validation libraries that a state machine's `schema` needs: version 1 of Standard Schema,
// https://standardschema.dev. Written here so that neither the library nor its users depend on a package for
// it.

/**
 * What validates and may convert a value; `Output` is the type of the values that it lets pass. Schemas of
 * Zod, Valibot, ArkType and other libraries are such objects.
 */
export interface StandardSchema<Output = unknown> {
  readonly "~standard": {
    readonly version: 1;
    /** The name of the library that the schema is from. */
    readonly vendor: string;
    /** The checked value, or why it is refused. */
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    /** Exists only for type inference. */
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

/** What `validate` returns: without `issues`, the value is valid. */
export type SchemaResult<Output> =
  { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly SchemaIssue[] };

/** One reason why a value is refused. */
export interface SchemaIssue {
  readonly message: string;
  /** Where in the value, from the outside in. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}
