// Package killtest kills jobs that write, at random moments, and looks at what they leave:
// the output of the last job that was done, or of the one that was killed, and never a mix.
//
// Its test binary is the victim, too: started with the name of an output in its
// environment, it writes that output again and again, and says so after each time. All else
// is in the tests; the package has no code.
package killtest
