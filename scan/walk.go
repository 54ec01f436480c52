package scan

// Members calls visit for each member of the object that begins at b[i], with
// the text between the quotes of its name and where its value begins; visit
// returns where that ends, or false if it is not valid. Members returns the
// same for the object.
func Members(b []byte, i int, visit func(name []byte, escaped bool, at int) (end int, ok bool)) (end int, ok bool) {
	i = Space(b, i+1)
	if i < len(b) && b[i] == '}' {
		return i + 1, true
	}
	for i < len(b) && b[i] == '"' {
		end, escaped, ok := String(b, i)
		if !ok {
			return i, false
		}
		name := b[i+1 : end-1]
		if i = Space(b, end); i >= len(b) || b[i] != ':' {
			return i, false
		}
		if i, ok = visit(name, escaped, Space(b, i+1)); !ok {
			return i, false
		}
		i = Space(b, i)
		switch {
		case i < len(b) && b[i] == ',':
			i = Space(b, i+1)
		case i < len(b) && b[i] == '}':
			return i + 1, true
		default:
			return i, false
		}
	}
	return i, false
}

// Elements does for the elements of an array what Members does for members.
func Elements(b []byte, i int, visit func(index, at int) (end int, ok bool)) (end int, ok bool) {
	i = Space(b, i+1)
	if i < len(b) && b[i] == ']' {
		return i + 1, true
	}
	for index := 0; ; index++ {
		if i, ok = visit(index, i); !ok {
			return i, false
		}
		i = Space(b, i)
		switch {
		case i < len(b) && b[i] == ',':
			i = Space(b, i+1)
		case i < len(b) && b[i] == ']':
			return i + 1, true
		default:
			return i, false
		}
	}
}
