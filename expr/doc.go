// Package expr holds expressions over the columns of an Arrow record as plain data: built without error, checked and typed by [Bind], evaluated by
// [Bound.Eval] and [Bound.Mask], written and read as SQL-like text by String and [Parse], and tested against column statistics by [MayMatch].
//
//	e, err := expr.Parse("score > 0.5 and label in ('spam', 'ham')")
//	b, err := expr.Bind(e, schema)       // unknown columns and wrong types are found here
//	rows, err := b.Mask(ctx, rec, mem)   // which rows to keep
//
// # Types
//
// Operators work on bool, all widths of int, uint and float, string and large_string, binary and large_binary, date32, date64, timestamp, and
// dictionaries of these (decoded when read). A column of any other type may be passed through (a lone [Col]), tested with [IsNull] and, if it is a
// list or a map, measured with [Length]; any other use is refused by the name of its type. Decimals are refused: cast them where they are read.
//
// # Literals
//
// A literal has no width of its own and adapts to the operand it meets:
//
//   - against an integer, date or timestamp it is compared by exact value, even where it does not fit the column's type: `uint8_column < 300` is true
//     and `int_column = 0.5` false for every row that isn't null; a time between two ticks of the column's unit lies between them;
//   - against a float it takes the column's type (`float32_column = 0.1` finds the float32 nearest to 0.1), save that a number too large for float32
//     makes the comparison one of float64;
//   - a string becomes a time against a date or timestamp ('2006-01-02', or with a time of day and a zone as in RFC 3339; UTC where none is given),
//     and bytes against binary.
//
// Alone, a literal is int64 (uint64 above the range of int64), float64, string, binary, bool, null, or timestamp[us, UTC] (ns if it needs that).
//
// # Promotion between columns
//
// Comparison: integers by exact value in any mix of widths and signs; float16 and float32 as float32; any other mix with a float as float64 (an int64
// beyond 2^53 is rounded). Dates and timestamps by instant, whatever their units; one with a time zone is not comparable with one without. Strings and binary in order of
// bytes, but not with each other. false < true.
//
// Arithmetic: integers of every width are computed as int64; as uint64 where one side is uint64 and the other is unsigned or a literal
// that is not negative. float16 and float32 among themselves or with a literal give float32; every other mix with a float gives float64.
// Integer division truncates towards zero.
//
// # Nulls
//
// A comparison or an arithmetic operation with a null is null; and, or, not follow Kleene's logic (false and null = false, true or null = true);
// x in (…) is null where x is null, or where nothing matches and the list holds a null; an empty list is false for every row. A mask keeps a row
// only if the condition is true. NaN follows IEEE 754: it equals nothing, itself included, and `!=` is true for it.
//
// # Errors while evaluating
//
// Integer overflow ([ErrOverflow]), integer division by zero ([ErrDivideByZero]) and a value that cannot be cast are errors, as in Arrow's compute: an
// [EvalError] names the first such row. Floats follow IEEE 754 instead: division by zero gives an infinity or NaN. Every operand is evaluated for
// every row, save where the result is known without it (a comparison with a literal null): `x != 0 and 10 / x > 1` fails on an integer zero; write `10 / cast(x as float64)`. Slots that are null never cause an error.
//
// # Casts
//
// Among numbers and bool: a float loses its fraction towards zero, an integer becomes the nearest float, a value out of the target's range or a NaN
// made an integer is an error; a number is true unless it is zero. Text to number, bool, date or timestamp parses the whole text or fails.
// Times change their unit towards the earlier tick, and fail on overflow; int64 and timestamp (int32 and date32, int64 and date64) exchange their raw count. Strings
// and binary exchange their bytes (an error if they aren't UTF-8).
package expr
