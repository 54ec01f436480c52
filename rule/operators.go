package rule

// operatorTable lists the operators: a new one is a file and a line here. It is a
// function because anything-but looks other operators up in it.
func operatorTable() map[string]func(*node) (matcher, error) {
	return map[string]func(*node) (matcher, error){
		"anything-but":       compileAnythingBut,
		"cidr":               compileCIDR,
		"equals-ignore-case": compileFold,
		"exactly":            compileExactly,
		"exists":             compileExists,
		"numeric":            compileNumeric,
		"prefix":             compilePrefix,
		"suffix":             compileSuffix,
		"wildcard":           compileWildcard,
	}
}
