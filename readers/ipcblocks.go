package readers

import (
	"encoding/binary"
	"errors"
	"fmt"

	flatbuffers "github.com/google/flatbuffers/go"
)

// ipcBlock is a record batch of a file.
type ipcBlock struct {
	rows, bytes int64
}

// Places of fields in the flatbuffers of the format (Footer in File.fbs, Message and
// RecordBatch in Message.fbs), which Arrow's reader keeps to itself: 4 + 2 × their number.
const (
	footerRecordBatches = 10
	blockBytes          = 24 // offset: int64, metaDataLength: int32, padding, bodyLength: int64
	messageHeader       = 8
	recordBatchLength   = 4
)

// ipcBlocks reads how many rows the record batches of a file have, without their bodies.
func ipcBlocks(in *input) (blocks []ipcBlock, err error) {
	defer func() {
		if p := recover(); p != nil { // offsets that lead out of the buffer
			err = in.noIPC(fmt.Errorf("%v", p))
		}
	}()
	tail := make([]byte, 4+len(ipcMagic))
	end := in.info.Size() - int64(len(tail))
	if _, err := in.ReadAt(tail, end); err != nil {
		return nil, in.noIPC(err)
	}
	size := int64(binary.LittleEndian.Uint32(tail))
	if size > end {
		return nil, in.noIPC(errors.New("the footer is larger than the file"))
	}
	buf := make([]byte, size)
	if _, err := in.ReadAt(buf, end-size); err != nil {
		return nil, in.noIPC(err)
	}
	footer := rootTable(buf)
	at := footer.Offset(footerRecordBatches)
	if at == 0 {
		return nil, nil
	}
	start := footer.Vector(flatbuffers.UOffsetT(at))
	for i := range footer.VectorLen(flatbuffers.UOffsetT(at)) {
		block := start + flatbuffers.UOffsetT(i*blockBytes)
		offset, meta := footer.GetInt64(block), footer.GetInt32(block+8)
		rows, err := ipcRows(in, offset, int64(meta))
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, ipcBlock{rows: rows, bytes: int64(meta) + footer.GetInt64(block+16)})
	}
	return blocks, nil
}

// ipcRows reads the length of the record batch whose message stands at offset.
func ipcRows(in *input, offset, size int64) (int64, error) {
	if offset < 0 || size < 8 || offset+size > in.info.Size() {
		return 0, in.noIPC(fmt.Errorf("a record batch at %d leads out of the file", offset))
	}
	buf := make([]byte, size)
	if _, err := in.ReadAt(buf, offset); err != nil {
		return 0, in.noIPC(err)
	}
	skip := 4 // the length of the metadata, before it the continuation mark since Arrow 0.15
	if string(buf[:4]) == string(ipcContinuation) {
		skip = 8
	}
	message := rootTable(buf[skip:])
	at := message.Offset(messageHeader)
	if at == 0 {
		return 0, in.noIPC(errors.New("a record batch has no header"))
	}
	var batch flatbuffers.Table
	message.Union(&batch, flatbuffers.UOffsetT(at))
	if at := batch.Offset(recordBatchLength); at != 0 {
		return batch.GetInt64(batch.Pos + flatbuffers.UOffsetT(at)), nil
	}
	return 0, nil
}

func rootTable(buf []byte) flatbuffers.Table {
	return flatbuffers.Table{Bytes: buf, Pos: flatbuffers.GetUOffsetT(buf)}
}
